#pragma once

#include <cstdint>
#include <limits>

#include <cuda_runtime_api.h>

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

}  // namespace mpelu::cuda
