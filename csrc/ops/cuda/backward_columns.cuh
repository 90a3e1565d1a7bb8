#pragma once

#include <cstdint>

#include "ops/cuda/backward_round.cuh"
#include "ops/cuda/divider.h"
#include "ops/cuda/parameter.cuh"

namespace mpelu::cuda {

/// A tensor seen as [outer, columns]; columns are counted in accesses.
struct ColumnsGeometry {
  int64_t outer;
  int64_t split_length;
  int64_t columns;
  uint32_t tiles;
  int width;
  int height;
  Divider inner;

  ColumnsGeometry(const Layout& layout, const BackwardPlan& plan)
      : outer(layout.outer),
        split_length(plan.split_length),
        columns(plan.columns / plan.elements_per_access),
        tiles(static_cast<uint32_t>(plan.tiles)),
        width(plan.width),
        height(plan.height()),
        inner(layout.inner, plan.columns) {}
};

/// A block takes one split of a tile, some columns side by side; a thread keeps a sum for each of
/// its N columns. Two blocks to a multiprocessor are the least that hide the latency of memory.
template <typename scalar_t, typename View, typename Output, int N>
__global__ void __launch_bounds__(kBackwardThreads, 2)
    backward_columns_kernel(const Pack<scalar_t, N>* __restrict__ grad_output,
                            const Pack<scalar_t, N>* __restrict__ input,
                            Pack<scalar_t, N>* __restrict__ grad_input, ColumnsGeometry geometry,
                            View view, Output output) {
  using Round = BackwardRound<scalar_t, N>;
  const uint32_t split = blockIdx.x / geometry.tiles;
  const int64_t tile = blockIdx.x - split * geometry.tiles;
  const int y = threadIdx.x / geometry.width;
  const int x = threadIdx.x - y * geometry.width;
  const int64_t column = tile * geometry.width + x;
  const bool inside = column < geometry.columns;
  typename View::Channel channels[N];
#pragma unroll
  for (int i = 0; i < N; ++i) {
    const auto channel =
        static_cast<uint32_t>(geometry.inner.divide(inside ? column * N + i : 0).quotient);
    channels[i] = view[channel];
  }

  const int64_t begin = split * geometry.split_length;
  const int64_t limit = begin + geometry.split_length;
  const int64_t last = limit < geometry.outer ? limit : geometry.outer;
  const int64_t end = inside ? last : begin;
  typename View::template Sums<double> totals[N] = {};
  for (int64_t first = begin + y; first < end; first += geometry.height * Round::kUnroll) {
    Round round;
#pragma unroll
    for (int u = 0; u < Round::kUnroll; ++u) {
      const int64_t row = first + u * geometry.height;
      round.load(u, grad_output, input, row * geometry.columns + column, row < end);
    }
#pragma unroll
    for (int i = 0; i < N; ++i) {
      totals[i] += round.compute(i, channels[i]);
    }
    if constexpr (View::kWritesGradInput) {
#pragma unroll
      for (int u = 0; u < Round::kUnroll; ++u) {
        round.store(u, grad_input);
      }
    }
  }

  reduce_block<kBackwardThreads>(totals, geometry.width, geometry.height);
  if (inside && y == 0) {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      output.store((split * geometry.columns + column) * N + i, totals[i], channels[i]);
    }
  }
}

}  // namespace mpelu::cuda
