#pragma once

#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "ops/cuda/arguments.h"

// Between torch and the kernels, which know nothing of it.
namespace mpelu::cuda {

/// The kernels' name for one of the dtypes that check_input lets pass.
inline DType to_dtype(at::ScalarType dtype) {
  switch (dtype) {
    case at::kDouble:
      return DType::Float64;
    case at::kFloat:
      return DType::Float32;
    case at::kHalf:
      return DType::Float16;
    default:
      return DType::BFloat16;
  }
}

/// Calls launch(arguments..., stream) on tensor's device and its current stream.
template <typename Launch, typename... Arguments>
void launch_on_device_of(const at::Tensor& tensor, Launch launch, const Arguments&... arguments) {
  const c10::cuda::CUDAGuard guard(tensor.device());
  C10_CUDA_CHECK(launch(arguments..., c10::cuda::getCurrentCUDAStream()));
}

}  // namespace mpelu::cuda
