#pragma once

#include <cstdint>

#include "ops/cuda/backward_round.cuh"
#include "ops/cuda/divider.h"
#include "ops/cuda/parameter.cuh"

namespace mpelu::cuda {

/// The rows of a channel, [outer, inner]; lengths are in accesses.
struct RowsGeometry {
  int64_t length;
  int64_t split_length;
  int64_t channels;
  Divider row_length;

  RowsGeometry(const Layout& layout, const BackwardPlan& plan)
      : length(layout.outer * layout.inner / plan.elements_per_access),
        split_length(plan.split_length),
        channels(layout.channels),
        row_length(layout.inner / plan.elements_per_access, plan.splits * plan.split_length) {}
};

/// A block takes one split of one channel: its rows as if they were one after another.
template <typename scalar_t, typename View, typename Output, int N>
__global__ void __launch_bounds__(kBackwardThreads)
    backward_rows_kernel(const Pack<scalar_t, N>* __restrict__ grad_output,
                         const Pack<scalar_t, N>* __restrict__ input,
                         Pack<scalar_t, N>* __restrict__ grad_input, RowsGeometry geometry,
                         View view, Output output) {
  using V = Arithmetic<scalar_t>;
  using Round = BackwardRound<scalar_t, N>;
  const auto channels = static_cast<uint32_t>(geometry.channels);
  const uint32_t split = blockIdx.x / channels;
  const uint32_t index = blockIdx.x - split * channels;
  const auto channel = view[index];

  const int64_t begin = split * geometry.split_length;
  const int64_t limit = begin + geometry.split_length;
  const int64_t end = limit < geometry.length ? limit : geometry.length;
  typename View::template Sums<double> total[1] = {};
  for (int64_t first = begin + threadIdx.x; first < end; first += blockDim.x * Round::kUnroll) {
    Round round;
#pragma unroll
    for (int u = 0; u < Round::kUnroll; ++u) {
      const int64_t access = first + u * blockDim.x;
      const int64_t row = geometry.row_length.divide(access).quotient;
      const int64_t rows_between = row * (geometry.channels - 1) + index;
      round.load(u, grad_output, input, access + rows_between * geometry.row_length.divisor(),
                 access < end);
    }
    typename View::template Sums<V> sums{};
#pragma unroll
    for (int i = 0; i < N; ++i) {
      sums += round.compute(i, channel);
    }
    total[0] += sums;
    if constexpr (View::kWritesGradInput) {
#pragma unroll
      for (int u = 0; u < Round::kUnroll; ++u) {
        round.store(u, grad_input);
      }
    }
  }

  reduce_block<kBackwardThreads>(total, 1, blockDim.x);
  if (threadIdx.x == 0) {
    output.store(blockIdx.x, total[0], channel);
  }
}

}  // namespace mpelu::cuda
