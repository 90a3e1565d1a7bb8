#pragma once

#include <cuda_runtime_api.h>

#include "ops/cuda/arguments.h"

namespace mpelu::cuda {

/// The gradient of ELU with respect to its input, in one launch. Nothing is launched for an empty
/// tensor.
cudaError_t elu_backward(const EluBackwardArguments& arguments, cudaStream_t stream);

}  // namespace mpelu::cuda
