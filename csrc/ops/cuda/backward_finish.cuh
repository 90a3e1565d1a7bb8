#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "ops/cuda/divider.h"
#include "ops/cuda/geometry.h"
#include "ops/cuda/reduce.cuh"

namespace mpelu::cuda {

/// The sums in the workspace, [splits, columns], that make one parameter's gradient: each of its
/// `count` elements is the sum over the splits and over columns / count neighbouring columns.
template <typename param_t>
struct SumInput {
  using V = Arithmetic<param_t>;

  const double* sums;
  /// To be sum * factor, or sum where there are no factors.
  param_t* grad;
  const V* factors = nullptr;
  /// To be sum * factor^2 * mean_factor, for the kernel that comes after; may be null, as grad may.
  V* means = nullptr;
  double mean_factor = 0;
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

  /// Wanted for its means, whether or not it is a parameter's gradient.
  SumInput with_means(void* means_, double mean_factor_, int64_t count_) const {
    SumInput input = *this;
    input.means = static_cast<V*>(means_);
    input.mean_factor = mean_factor_;
    input.count = static_cast<uint32_t>(count_);
    return input;
  }
};

/// The sums of K parameters.
template <typename param_t, int K>
struct SumInputs {
  SumInput<param_t> inputs[K];

  int64_t elements() const {
    int64_t elements = 0;
    for (const auto& input : inputs) {
      elements += input.count;
    }
    return elements;
  }

  /// The least that one of the gradients has, of those that are wanted.
  int64_t fewest_elements() const {
    int64_t fewest = std::numeric_limits<int64_t>::max();
    for (const auto& input : inputs) {
      fewest = input.count > 0 ? std::min<int64_t>(fewest, input.count) : fewest;
    }
    return fewest;
  }
};

/// A block adds up one element of a parameter's gradient.
template <typename param_t, int K>
__global__ void __launch_bounds__(kBackwardThreads)
    backward_finish_kernel(SumInputs<param_t, K> parameters) {
  SumInput<param_t> from = parameters.inputs[0];
  uint32_t element = blockIdx.x;
#pragma unroll
  for (int k = 1; k < K; ++k) {
    if (element >= from.count) {
      element -= from.count;
      from = parameters.inputs[k];
    }
  }
  const int64_t width = from.width.divisor();

  double total[1] = {};
  for (int64_t i = threadIdx.x; i < from.splits * width; i += blockDim.x) {
    const auto [split, place] = from.width.divide(i);
    total[0] += from.sums[split * from.columns + element * width + place];
  }
  reduce_block<kBackwardThreads>(total, 1, blockDim.x);
  if (threadIdx.x == 0) {
    const double factor = from.factors == nullptr ? 1.0 : double{from.factors[element]};
    if (from.grad != nullptr) {
      from.grad[element] = narrow<param_t>(total[0] * factor);
    }
    if (from.means != nullptr) {
      from.means[element] =
          static_cast<Arithmetic<param_t>>(total[0] * factor * factor * from.mean_factor);
    }
  }
}

}  // namespace mpelu::cuda
