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

/// Calls f(i, view[channel of element index + i]) for i = 0, ..., N - 1.
template <int N, typename View, typename Function>
__device__ void for_each_neighbour(int64_t index, const Channels& channels, const View& view,
                                   const Function& f) {
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
        f(i, view[index_of_channel]);
        if (--left == 0) {
          left = inner;
          index_of_channel = index_of_channel + 1 == count ? 0 : index_of_channel + 1;
        }
      }
      return;
    }
  }
  const auto channel = view[index_of_channel];
#pragma unroll
  for (int i = 0; i < N; ++i) {
    f(i, channel);
  }
}

/// output = f(input), elementwise in memory order; `length` is in accesses. A thread has all its
/// loads in flight before it computes, and stores last, so that output may be input.
template <typename scalar_t, typename View, int N>
__global__ void __launch_bounds__(kForwardThreads)
    forward_kernel(const Pack<scalar_t, N>* input, Pack<scalar_t, N>* output, int64_t length,
                   Channels channels, View view) {
  constexpr int kUnroll = unroll(N);
  const int64_t first = int64_t{blockIdx.x} * (kForwardThreads * kUnroll) + threadIdx.x;

  Pack<scalar_t, N> packs[kUnroll];
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
    const int64_t access = first + u * kForwardThreads;
    packs[u] = load(input + access, access < length, narrow<scalar_t>(0.0f));
  }
  view.read_shared();
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
    scalar_t(&values)[N] = packs[u].values;
    for_each_neighbour<N>((first + u * kForwardThreads) * N, channels, view,
                          [&](int i, const auto& channel) {
                            values[i] = narrow<scalar_t>(math::forward(widen(values[i]), channel));
                          });
  }
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
    const int64_t access = first + u * kForwardThreads;
    if (access < length) {
      output[access] = packs[u];
    }
  }
}

template <typename scalar_t, int N, typename View, typename Launch>
void launch_forward_packs(const Layout& layout, const void* input, void* output, const View& view,
                          Launch& launch) {
  const int64_t length = layout.numel() / N;
  const int64_t block = kForwardThreads * unroll(N);
  const int64_t blocks = ceil_divide(length, block);
  launch(forward_kernel<scalar_t, View, N>, blocks, kForwardThreads,
         static_cast<const Pack<scalar_t, N>*>(input), static_cast<Pack<scalar_t, N>*>(output),
         length, Channels(layout, blocks * block * N), view);
}

/// output = f(input), for the f of view's channels.
template <typename scalar_t, typename View, typename Launch>
void launch_forward(const Layout& layout, const void* input, void* output, const View& view,
                    Launch& launch) {
  constexpr int kWidest = kAccessBytes / sizeof(scalar_t);
  if (layout.numel() == 0) {
    return;
  }
  if (layout.numel() % kWidest == 0 && are_aligned(input, output)) {
    launch_forward_packs<scalar_t, kWidest>(layout, input, output, view, launch);
  } else {
    launch_forward_packs<scalar_t, 1>(layout, input, output, view, launch);
  }
}

template <typename scalar_t, typename param_t, typename Launch>
void launch_forward(const ForwardArguments& arguments, Launch& launch) {
  const ActivationView<param_t, Arithmetic<scalar_t>> view(arguments.alpha, arguments.beta);
  launch_forward<scalar_t>(arguments.layout, arguments.input, arguments.output, view, launch);
}

}  // namespace mpelu::cuda
