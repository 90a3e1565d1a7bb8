#pragma once

#include <cuda_runtime_api.h>

#include "ops/cuda/arguments.h"
#include "ops/cuda/geometry.h"

namespace mpelu::cuda {

/// mean and invstd = 1 / sqrt(var + eps) of each channel of a tensor with more than one element of
/// each, towards which the running statistics move, in one launch or two. The plan is for
/// kBatchNormColumns.
cudaError_t batch_statistics(const BatchStatisticsArguments& arguments, const Plan& plan,
                             cudaStream_t stream);

/// mean = running_mean and invstd = 1 / sqrt(running_var + eps), in one launch.
cudaError_t running_statistics(const RunningStatisticsArguments& arguments, cudaStream_t stream);

/// output = f(batch_norm(input)) by the statistics given, in one launch. Nothing is launched for an
/// empty tensor.
cudaError_t batch_norm_mpelu_forward(const BatchNormForwardArguments& arguments,
                                     cudaStream_t stream);

/// All gradients, in two or three launches: sums, their totals where a channel has several, the
/// gradient of the input. Every sum is taken in a fixed order. The tensor has at least one element;
/// the plan is for kBatchNormColumns.
cudaError_t batch_norm_mpelu_backward(const BatchNormBackwardArguments& arguments, const Plan& plan,
                                      cudaStream_t stream);

}  // namespace mpelu::cuda
