#pragma once

#include <cstdint>

#include "math/mpelu.h"
#include "ops/cuda/arguments.h"
#include "ops/cuda/divider.h"
#include "ops/cuda/element.cuh"
#include "ops/cuda/geometry.h"
#include "ops/cuda/parameter.cuh"

namespace mpelu::cuda {

/// The channels of elements in memory order.
struct Channels {
  Divider inner;
  Divider count;

  /// For indices below `end`.
  Channels(const Layout& layout, int64_t end)
      : inner(layout.inner, end), count(layout.channels, end) {}
};

/// Applies f to N neighbours from element `index` on.
template <typename scalar_t, int N, typename Parameters>
__device__ void apply(Pack<scalar_t, N>& pack, int64_t index, const Channels& channels,
                      const Parameters& alpha, const Parameters& beta) {
  const int64_t inner = channels.inner.divisor();
  const int count = static_cast<int>(channels.count.divisor());
  int index_of_channel = 0;
  int64_t left = N;  // elements up to the next channel
  if (count > 1) {
    const auto [row, column] = channels.inner.divide(index);
    index_of_channel = static_cast<int>(channels.count.divide(row).remainder);
    left = inner - column;
  }
  if constexpr (N > 1) {
    if (left < N) {
#pragma unroll
      for (int i = 0; i < N; ++i) {
        const math::Channel channel{alpha[index_of_channel], {beta[index_of_channel]}};
        pack.values[i] = narrow<scalar_t>(math::forward(widen(pack.values[i]), channel));
        if (--left == 0) {
          left = inner;
          index_of_channel = index_of_channel + 1 == count ? 0 : index_of_channel + 1;
        }
      }
      return;
    }
  }
  const math::Channel channel{alpha[index_of_channel], {beta[index_of_channel]}};
#pragma unroll
  for (int i = 0; i < N; ++i) {
    pack.values[i] = narrow<scalar_t>(math::forward(widen(pack.values[i]), channel));
  }
}

/// output = f(input), elementwise in memory order; `length` is in accesses. A thread has all its
/// loads in flight before it computes, and stores last, so that output may be input.
template <typename scalar_t, typename param_t, int N>
__global__ void __launch_bounds__(kForwardThreads)
    forward_kernel(const Pack<scalar_t, N>* input, Pack<scalar_t, N>* output, int64_t length,
                   Channels channels, ParameterView<param_t, Arithmetic<scalar_t>> alpha,
                   ParameterView<param_t, Arithmetic<scalar_t>> beta) {
  constexpr int kUnroll = unroll(N);
  const int64_t first = int64_t{blockIdx.x} * (kForwardThreads * kUnroll) + threadIdx.x;

  Pack<scalar_t, N> packs[kUnroll];
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
    const int64_t access = first + u * kForwardThreads;
    packs[u] = load(input + access, access < length, narrow<scalar_t>(0.0f));
  }
  alpha.read_shared();
  beta.read_shared();
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
    apply(packs[u], (first + u * kForwardThreads) * N, channels, alpha, beta);
  }
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
    const int64_t access = first + u * kForwardThreads;
    if (access < length) {
      output[access] = packs[u];
    }
  }
}

template <typename scalar_t, typename param_t, int N, typename Launch>
void launch_forward_packs(const ForwardArguments& arguments, Launch& launch) {
  using View = ParameterView<param_t, Arithmetic<scalar_t>>;
  const int64_t length = arguments.layout.numel() / N;
  const int64_t block = kForwardThreads * unroll(N);
  const int64_t blocks = ceil_divide(length, block);
  launch(forward_kernel<scalar_t, param_t, N>, blocks, kForwardThreads,
         static_cast<const Pack<scalar_t, N>*>(arguments.input),
         static_cast<Pack<scalar_t, N>*>(arguments.output), length,
         Channels(arguments.layout, blocks * block * N), View(arguments.alpha),
         View(arguments.beta));
}

template <typename scalar_t, typename param_t, typename Launch>
void launch_forward(const ForwardArguments& arguments, Launch& launch) {
  constexpr int kWidest = kAccessBytes / sizeof(scalar_t);
  if (arguments.layout.numel() == 0) {
    return;
  }
  if (arguments.layout.numel() % kWidest == 0 && are_aligned(arguments.input, arguments.output)) {
    launch_forward_packs<scalar_t, param_t, kWidest>(arguments, launch);
  } else {
    launch_forward_packs<scalar_t, param_t, 1>(arguments, launch);
  }
}

}  // namespace mpelu::cuda
