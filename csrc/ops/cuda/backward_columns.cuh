#pragma once

#include <cstdint>

#include "ops/cuda/backward_round.cuh"
#include "ops/cuda/columns.cuh"
#include "ops/cuda/parameter.cuh"

namespace mpelu::cuda {

/// A block takes one split of a tile, some columns side by side; a thread keeps a sum for each of
/// its N columns. Two blocks to a multiprocessor are the least that hide the latency of memory.
template <typename scalar_t, typename View, typename Output, int N>
__global__ void __launch_bounds__(kTileThreads, 2)
    backward_columns_kernel(const Pack<scalar_t, N>* __restrict__ grad_output,
                            const Pack<scalar_t, N>* __restrict__ input,
                            Pack<scalar_t, N>* __restrict__ grad_input, ColumnsGeometry geometry,
                            View view, Output output) {
  using Round = BackwardRound<scalar_t, N>;
  const Strip strip = geometry.strip();
  typename View::Channel channels[N];
#pragma unroll
  for (int i = 0; i < N; ++i) {
    channels[i] = view[geometry.channel<N>(strip, i)];
  }

  typename View::template Sums<double> totals[N] = {};
  for (int64_t first = strip.begin; first < strip.end; first += geometry.height * Round::kUnroll) {
    Round round;
#pragma unroll
    for (int u = 0; u < Round::kUnroll; ++u) {
      const int64_t row = first + u * geometry.height;
      round.load(u, grad_output, input, row * geometry.columns + strip.column, row < strip.end);
    }
#pragma unroll
    for (int i = 0; i < N; ++i) {
      typename View::template Sums<Arithmetic<scalar_t>> sums{};
      round.compute(i, channels[i], sums);
      totals[i] += sums;
    }
    if constexpr (View::kWritesGradInput) {
#pragma unroll
      for (int u = 0; u < Round::kUnroll; ++u) {
        round.store(u, grad_input);
      }
    }
  }

  reduce_block(totals, geometry.width, geometry.height);
  if (strip.inside && threadIdx.x < geometry.width) {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      output.store((strip.split * geometry.columns + strip.column) * N + i, totals[i], channels[i]);
    }
  }
}

}  // namespace mpelu::cuda
