#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "math/real.h"
#include "ops/cuda/divider.h"
#include "ops/cuda/element.cuh"
#include "ops/cuda/geometry.h"
#include "ops/cuda/reduce.cuh"

namespace mpelu::cuda {

/// The sums in the workspace, [splits, columns], that make one parameter's gradient: each of its
/// `count` elements is the sum over the splits and over columns / count neighbouring columns.
template <typename param_t>
struct ParameterSums {
  using V = Arithmetic<param_t>;

  const double* sums;
  uint32_t count;
  int64_t splits;
  int64_t columns;
  Divider width;

  /// To be sum * factor, or sum where there are no factors; may be null.
  param_t* grad;
  const V* factors = nullptr;
  /// To be sum * factor^2 * mean_factor, for the kernel that comes after; may be null.
  V* means = nullptr;
  double mean_factor = 0;

  ParameterSums(const Plan& plan, const double* sums, int64_t count, void* grad)
      : sums(sums),
        count(static_cast<uint32_t>(count)),
        splits(plan.splits),
        columns(plan.columns),
        width(plan.columns / count, plan.sums()),
        grad(static_cast<param_t*>(grad)) {}

  MPELU_HOST_DEVICE uint32_t wanted() const {
    return grad == nullptr && means == nullptr ? 0 : count;
  }
};

/// The sums of K parameters.
template <typename param_t, int K>
struct AllSums {
  ParameterSums<param_t> parameters[K];

  int64_t wanted() const {
    int64_t elements = 0;
    for (const auto& parameter : parameters) {
      elements += parameter.wanted();
    }
    return elements;
  }

  /// The fewest elements of one of the parameters, of those that are wanted.
  int64_t fewest_wanted() const {
    int64_t fewest = std::numeric_limits<int64_t>::max();
    for (const auto& parameter : parameters) {
      if (parameter.wanted() > 0) {
        fewest = std::min<int64_t>(fewest, parameter.wanted());
      }
    }
    return fewest;
  }
};

/// A block adds up `elements` elements of the parameters' gradients, each by as many threads, which
/// take its sums in turns.
template <typename param_t, int K>
__global__ void __launch_bounds__(kTileThreads)
    backward_finish_kernel(AllSums<param_t, K> all, uint32_t elements) {
  ParameterSums<param_t> from = all.parameters[0];
  const uint32_t threads = blockDim.x / elements;
  uint32_t element = blockIdx.x * elements + threadIdx.x % elements;
#pragma unroll
  for (int k = 1; k < K; ++k) {
    if (element >= from.wanted()) {
      element -= from.wanted();
      from = all.parameters[k];
    }
  }
  const int64_t width = from.width.divisor();
  const int64_t terms = element < from.wanted() ? from.splits * width : 0;

  double total[1] = {};
  for (int64_t i = threadIdx.x / elements; i < terms; i += threads) {
    const auto [split, place] = from.width.divide(i);
    total[0] += from.sums[split * from.columns + element * width + place];
  }
  reduce_block(total, static_cast<int>(elements), static_cast<int>(threads));
  if (threadIdx.x < elements && terms > 0) {
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
