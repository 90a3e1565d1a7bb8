#pragma once

#include <cstdint>

#include <cuda_runtime_api.h>

#include "ops/cuda/arguments.h"
#include "ops/cuda/geometry.h"

namespace mpelu::cuda {

/// output = f(input), in one launch; output may be input. Nothing is launched for an empty tensor.
cudaError_t mpelu_forward(const ForwardArguments& arguments, cudaStream_t stream);

/// All gradients, in one launch where the plan has one sum per parameter, else in two. Every sum is
/// taken in a fixed order. The tensor has at least one element.
cudaError_t mpelu_backward(const BackwardArguments& arguments, const Plan& plan,
                           cudaStream_t stream);

}  // namespace mpelu::cuda
