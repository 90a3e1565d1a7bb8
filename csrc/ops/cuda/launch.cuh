#pragma once

#include <cstdint>
#include <limits>

#include <cuda_runtime_api.h>

#include "ops/cuda/arguments.h"
#include "ops/cuda/half.cuh"

namespace mpelu::cuda {

/// Launches kernels on a stream up to the first error.
struct Launch {
  cudaStream_t stream;
  cudaError_t error = cudaSuccess;

  template <typename... Parameters, typename... Arguments>
  void operator()(void (*kernel)(Parameters...), int64_t blocks, int threads,
                  const Arguments&... arguments) {
    if (blocks > std::numeric_limits<int32_t>::max()) {
      error = cudaErrorInvalidConfiguration;
    }
    if (error == cudaSuccess && blocks > 0) {
      kernel<<<static_cast<unsigned>(blocks), threads, 0, stream>>>(arguments...);
      error = cudaGetLastError();
    }
  }
};

/// Calls function<scalar_t, param_t>() with the types of a tensor and its parameters.
template <typename Function>
void dispatch(DType dtype, DType parameter_dtype, Function function) {
  const bool same = dtype == parameter_dtype;
  switch (dtype) {
    case DType::Float64:
      return function.template operator()<double, double>();
    case DType::Float32:
      return function.template operator()<float, float>();
    case DType::Float16:
      return same ? function.template operator()<__half, __half>()
                  : function.template operator()<__half, float>();
    case DType::BFloat16:
      return same ? function.template operator()<__nv_bfloat16, __nv_bfloat16>()
                  : function.template operator()<__nv_bfloat16, float>();
  }
}

}  // namespace mpelu::cuda
