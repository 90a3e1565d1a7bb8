#pragma once

#include <cstdint>

#include "ops/cuda/divider.h"
#include "ops/cuda/geometry.h"
#include "ops/cuda/reduce.cuh"

namespace mpelu::cuda {

/// The sums in the workspace, [splits, columns], that make one parameter's gradient: each of its
/// `count` elements is the sum over the splits and over columns / count neighbouring columns.
template <typename param_t>
struct SumInput {
  const double* sums;
  param_t* grad;
  uint32_t count;
  int64_t splits;
  int64_t columns;
  Divider width;

  SumInput(const BackwardPlan& plan, const double* sums_, void* grad_, int64_t count_)
      : sums(sums_),
        grad(static_cast<param_t*>(grad_)),
        count(grad_ == nullptr ? 0 : static_cast<uint32_t>(count_)),
        splits(plan.splits),
        columns(plan.columns),
        width(plan.columns / count_, plan.sums()) {}
};

/// A block adds up one element of a parameter's gradient.
template <typename param_t>
__global__ void __launch_bounds__(kBackwardThreads)
    backward_finish_kernel(SumInput<param_t> alpha, SumInput<param_t> beta) {
  const bool is_alpha = blockIdx.x < alpha.count;
  const SumInput<param_t> from = is_alpha ? alpha : beta;
  const uint32_t element = is_alpha ? blockIdx.x : blockIdx.x - alpha.count;
  const int64_t width = from.width.divisor();

  double total[1] = {};
  for (int64_t i = threadIdx.x; i < from.splits * width; i += blockDim.x) {
    const auto [split, place] = from.width.divide(i);
    total[0] += from.sums[split * from.columns + element * width + place];
  }
  reduce_block<kBackwardThreads>(total, 1, blockDim.x);
  if (threadIdx.x == 0) {
    from.grad[element] = narrow<param_t>(total[0]);
  }
}

}  // namespace mpelu::cuda
