#pragma once

#include <cuda_runtime_api.h>

#include "ops/cuda/arguments.h"
#include "ops/cuda/geometry.h"

namespace mpelu::cuda {

/// mean = from_mean and invstd = 1 / sqrt(from_var + eps), in one launch.
cudaError_t batch_norm_statistics(const StatisticsArguments& arguments, cudaStream_t stream);

/// output = f(batch_norm(input)) by the statistics given, in one launch. Nothing is launched for an
/// empty tensor.
cudaError_t batch_norm_mpelu_forward(const BatchNormForwardArguments& arguments,
                                     cudaStream_t stream);

/// All gradients, in three launches: sums, their totals, the gradient of the input. Every sum is
/// taken in a fixed order. The tensor has at least one element; the plan is for kBatchNormColumns.
cudaError_t batch_norm_mpelu_backward(const BatchNormBackwardArguments& arguments,
                                      const BackwardPlan& plan, cudaStream_t stream);

}  // namespace mpelu::cuda
