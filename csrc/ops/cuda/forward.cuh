#pragma once

#include <cstdint>
#include <type_traits>

#include "math/mpelu.h"
#include "ops/cuda/arguments.h"
#include "ops/cuda/divider.h"
#include "ops/cuda/element.cuh"
#include "ops/cuda/elementwise.cuh"
#include "ops/cuda/geometry.h"
#include "ops/cuda/parameter.cuh"

namespace mpelu::cuda {

/// The channels of elements in memory order, also of those past the end that the last block has.
struct Channels {
  Divider inner;
  Divider count;

  explicit Channels(const Layout& layout)
      : inner(layout.inner, layout.numel() + kMostElementsOfBlock),
        count(layout.channels, layout.numel() + kMostElementsOfBlock) {}
};

constexpr unsigned kWholeWarp = 0xffffffff;

/// As with_parameter_range, but in double precision, where both formulas take too many registers,
/// the one for growing parameters has to do for all.
template <typename scalar_t, typename Channel, typename Body>
__device__ void with_elementwise_range(const Channel& channel, const Body& body) {
  if constexpr (std::is_same_v<scalar_t, double>) {
    body(math::RangeConstant<math::ParameterRange::kGrowing>());
  } else {
    with_parameter_range(channel, body);
  }
}

/// Calls f(i, view[channel of element index + i], range) for i = 0, ..., N - 1, where the range is
/// a constant that has the channel's parameters. For whole warps: all their threads are here.
template <typename scalar_t, int N, typename View, typename Function>
__device__ void for_each_neighbour(int64_t index, const Channels& channels, const View& view,
                                   const Function& f) {
  const int64_t inner = channels.inner.divisor();
  const auto count = static_cast<uint32_t>(channels.count.divisor());
  uint32_t index_of_channel = 0;
  int64_t left = N;  // elements up to the next channel
  if (count > 1) {
    const auto [row, column] = channels.inner.divide(index);
    index_of_channel = static_cast<uint32_t>(channels.count.divide(row).remainder);
    left = inner - column;
  }
  if constexpr (N > 1) {
    // A warp whose threads went both ways would take the time of both.
    if (__any_sync(kWholeWarp, left < N)) {
#pragma unroll
      for (int i = 0; i < N; ++i) {
        const auto channel = view[index_of_channel];
        with_elementwise_range<scalar_t>(channel, [&](auto range) { f(i, channel, range); });
        if (--left == 0) {
          left = inner;
          index_of_channel = index_of_channel + 1 == count ? 0 : index_of_channel + 1;
        }
      }
      return;
    }
  }
  const auto channel = view[index_of_channel];
  with_elementwise_range<scalar_t>(channel, [&](auto range) {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      f(i, channel, range);
    }
  });
}

/// f of view's channels.
template <typename scalar_t, typename View>
struct Forward {
  static constexpr int kInputs = 1;
  static constexpr int kBlocks = View::kForwardBlocks;

  Channels channels;
  View view;

  template <int N>
  __device__ void compute(int64_t index, Pack<scalar_t, N> (&packs)[1]) const {
    constexpr auto kPrecision = View::template kPrecision<scalar_t>;
    scalar_t(&values)[N] = packs[0].values;
    for_each_neighbour<scalar_t, N>(
        index, channels, view, [&](int i, const auto& channel, auto range) {
          values[i] = narrow<scalar_t>(
              math::forward<decltype(range)::value, kPrecision>(widen(values[i]), channel));
        });
  }
};

/// output = f(input), for the f of view's channels, with accesses of kMost elements at most.
template <typename scalar_t, int kMost, typename View, typename Launch>
void launch_forward(const Layout& layout, const void* input, void* output, const View& view,
                    Launch& launch) {
  // A layout without elements may have no channels, by which nothing can be divided.
  if (layout.numel() > 0) {
    launch_elementwise<scalar_t, kMost>({{input}, output, layout.numel()},
                                        Forward<scalar_t, View>{Channels(layout), view}, launch);
  }
}

template <typename scalar_t, typename param_t, typename Launch>
void launch_forward(const ForwardArguments& arguments, Launch& launch) {
  const ActivationView<param_t, Arithmetic<scalar_t>> view(arguments.alpha, arguments.beta);
  launch_forward<scalar_t, kWidest<scalar_t>>(arguments.layout, arguments.input, arguments.output,
                                              view, launch);
}

}  // namespace mpelu::cuda
