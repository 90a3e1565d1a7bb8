#pragma once

#include <cuda_runtime_api.h>

#include "emulation.h"

/// Where a test sets it, it is told of every kernel, none of which runs.
extern "C" {
[[gnu::visibility("default")]] inline void (*mpelu_on_launch)(const void* kernel) = nullptr;
}

namespace mpelu::cuda {

/// Of all launches, for an order of blocks and threads that is another in each and can be repeated.
inline unsigned count_of_launches = 0;

/// Runs kernels at once.
struct Launch : emulation::Launch {
  explicit Launch(cudaStream_t /*stream*/) : emulation::Launch(count_of_launches++) {}

  template <typename... Parameters, typename... Arguments>
  void operator()(void (*kernel)(Parameters...), int64_t blocks, int threads,
                  const Arguments&... arguments) {
    if (mpelu_on_launch == nullptr) {
      emulation::Launch::operator()(kernel, blocks, threads, arguments...);
    } else if (blocks > 0) {
      mpelu_on_launch(reinterpret_cast<const void*>(kernel));
    }
  }

  cudaError_t error = 0;
};

}  // namespace mpelu::cuda
