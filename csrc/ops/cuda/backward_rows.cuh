#pragma once

#include <cstdint>

#include "ops/cuda/backward_round.cuh"
#include "ops/cuda/parameter.cuh"
#include "ops/cuda/rows.cuh"

namespace mpelu::cuda {

/// A block takes one split of one channel.
template <typename scalar_t, typename View, typename Output, int N>
__global__ void __launch_bounds__(kTileThreads)
    backward_rows_kernel(const Pack<scalar_t, N>* __restrict__ grad_output,
                         const Pack<scalar_t, N>* __restrict__ input,
                         Pack<scalar_t, N>* __restrict__ grad_input, RowsGeometry geometry,
                         View view, Output output) {
  using V = Arithmetic<scalar_t>;
  using Round = BackwardRound<scalar_t, N>;
  const Stretch stretch = geometry.stretch();
  const auto channel = view[stretch.channel];

  typename View::template Sums<double> total[1] = {};
  for (int64_t first = stretch.begin + threadIdx.x; first < stretch.end;
       first += blockDim.x * Round::kUnroll) {
    Round round;
#pragma unroll
    for (int u = 0; u < Round::kUnroll; ++u) {
      const int64_t access = first + u * blockDim.x;
      round.load(u, grad_output, input, geometry.offset(access, stretch.channel),
                 access < stretch.end);
    }
    typename View::template Sums<V> sums{};
    round.compute(channel, sums);
    total[0] += sums;
    if constexpr (View::kWritesGradInput) {
#pragma unroll
      for (int u = 0; u < Round::kUnroll; ++u) {
        round.store(u, grad_input);
      }
    }
  }

  reduce_block(total, 1, blockDim.x);
  if (threadIdx.x == 0) {
    output.store(blockIdx.x, total[0], channel);
  }
}

}  // namespace mpelu::cuda
