#pragma once

#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

namespace mpelu::cuda {

/// Calls launch(arguments..., stream) on tensor's device and its current stream.
template <typename Launch, typename... Arguments>
void launch_on_device_of(const at::Tensor& tensor, Launch launch, const Arguments&... arguments) {
  const c10::cuda::CUDAGuard guard(tensor.device());
  C10_CUDA_CHECK(launch(arguments..., c10::cuda::getCurrentCUDAStream()));
}

}  // namespace mpelu::cuda
