#pragma once

#include <cstdint>
#include <type_traits>

#include "math/mpelu.h"
#include "ops/cuda/columns.cuh"
#include "ops/cuda/divider.h"
#include "ops/cuda/element.cuh"
#include "ops/cuda/elementwise.cuh"
#include "ops/cuda/geometry.h"
#include "ops/cuda/parameter.cuh"

// Elementwise operations with the numbers of each element's channel. Where an access has elements
// of one channel, a thread finds that; where it has elements of several, a thread stays with its
// columns and has read their channels' numbers once for all of its rows.
//
// An Op has the number of inputs, kInputs, and that of blocks to a multiprocessor for either
// kernel, kBlocks and kBlocksByColumns, which bounds a thread's registers; and
//
//   Channel channel(uint32_t index) const;  // of which grows() tells the range
//
//   template <ParameterRange kRange, int N>  // packs[0].values[i] = f(packs[0].values[i], ...)
//   void compute(int i, Pack<scalar_t, N> (&packs)[kInputs], const Channel& channel) const;
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
template <typename scalar_t, math::ParameterRange kSome = math::ParameterRange::kGrowing,
          typename Body>
__device__ void with_elementwise_range(bool some_grow, const Body& body) {
  if constexpr (std::is_same_v<scalar_t, double>) {
    body(math::RangeConstant<math::ParameterRange::kGrowing>());
  } else {
    with_parameter_range<kSome>(some_grow, body);
  }
}

/// An Op as the elementwise kernel takes it.
template <typename scalar_t, typename Op>
struct ByElement {
  static constexpr int kInputs = Op::kInputs;
  static constexpr int kBlocks = Op::kBlocks;

  Channels channels;
  Op op;

  /// For whole warps: all their threads are here.
  template <int N>
  __device__ void compute(int64_t index, Pack<scalar_t, N> (&packs)[kInputs]) const {
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
          const auto channel = op.channel(index_of_channel);
          with_elementwise_range<scalar_t>(channel.grows(), [&](auto range) {
            op.template compute<decltype(range)::value>(i, packs, channel);
          });
          if (--left == 0) {
            left = inner;
            index_of_channel = index_of_channel + 1 == count ? 0 : index_of_channel + 1;
          }
        }
        return;
      }
    }
    const auto channel = op.channel(index_of_channel);
    with_elementwise_range<scalar_t>(channel.grows(), [&](auto range) {
#pragma unroll
      for (int i = 0; i < N; ++i) {
        op.template compute<decltype(range)::value>(i, packs, channel);
      }
    });
  }
};

/// A thread takes some columns, with kUnroll rows in flight.
template <typename scalar_t, typename Op, int N, int kUnroll>
__global__ void __launch_bounds__(kTileThreads, Op::kBlocksByColumns)
    columnwise_kernel(ElementwiseTensors<Op::kInputs> tensors, ColumnsGeometry geometry, Op op) {
  using Access = Pack<scalar_t, N>;
  const Strip strip = geometry.strip();
  decltype(op.channel(0)) channels[N];
  bool some_grow = false;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    channels[i] = op.channel(geometry.channel<N>(strip, i));
    some_grow = some_grow || channels[i].grows();
  }

  const auto compute_rows = [&](auto range) {
    for (int64_t first = strip.begin; first < strip.end; first += geometry.height * kUnroll) {
      Access packs[kUnroll][Op::kInputs];
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        const int64_t row = first + u * geometry.height;
#pragma unroll
        for (int k = 0; k < Op::kInputs; ++k) {
          packs[u][k] = load(
              static_cast<const Access*>(tensors.inputs[k]) + row * geometry.columns + strip.column,
              row < strip.end, Fill::kZero);
        }
      }
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        const int64_t row = first + u * geometry.height;
#pragma unroll
        for (int i = 0; i < N; ++i) {
          op.template compute<decltype(range)::value>(i, packs[u], channels[i]);
        }
        if (row < strip.end) {
          static_cast<Access*>(tensors.output)[row * geometry.columns + strip.column] = packs[u][0];
        }
      }
    }
  };
  // Of columns that do not all decay, each by its own channel: an element's result depends on no
  // other's parameters.
  with_elementwise_range<scalar_t, math::ParameterRange::kAny>(some_grow, compute_rows);
}

template <typename scalar_t, int N, typename Op, typename Launch>
void launch_columnwise(const ElementwiseTensors<Op::kInputs>& tensors, const Layout& layout,
                       const Op& op, Launch& launch) {
  constexpr int kUnroll = unroll(N * Op::kInputs);
  const auto start = [&](auto kernel, int64_t in_flight) {
    const Plan plan = plan_columnwise(layout, N, in_flight);
    launch(kernel, plan.blocks(), plan.threads, tensors, ColumnsGeometry(layout, plan), op);
  };
  if (ceil_divide(tensors.numel, kUnroll * N * kTileThreads) <= kFewBlocks) {
    start(columnwise_kernel<scalar_t, Op, N, 1>, 1);
  } else {
    start(columnwise_kernel<scalar_t, Op, N, kUnroll>, kUnroll);
  }
}

/// With accesses of kMost elements where the tensors lie so that they can be made.
template <typename scalar_t, int kMost, typename Op, typename Launch>
void launch_channelwise(const ElementwiseTensors<Op::kInputs>& tensors, const Layout& layout,
                        const Op& op, Launch& launch) {
  // A layout without elements may have no channels, by which nothing can be divided.
  if (tensors.numel == 0) {
    return;
  }
  if (tensors.are_aligned() && is_columnwise(layout, kMost)) {
    launch_columnwise<scalar_t, kMost>(tensors, layout, op, launch);
  } else {
    launch_elementwise<scalar_t, kMost>(tensors, ByElement<scalar_t, Op>{Channels(layout), op},
                                        launch);
  }
}

}  // namespace mpelu::cuda
