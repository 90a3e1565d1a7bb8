#pragma once

#include <cuda_runtime_api.h>

#include "emulation.h"

namespace mpelu::cuda {

/// Of all launches, for an order of blocks and threads that is another in each and can be repeated.
inline unsigned count_of_launches = 0;

/// Runs kernels at once.
struct Launch : emulation::Launch {
  explicit Launch(cudaStream_t /*stream*/) : emulation::Launch(count_of_launches++) {}

  cudaError_t error = 0;
};

}  // namespace mpelu::cuda
