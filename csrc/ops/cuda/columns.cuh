#pragma once

#include <cstdint>

#include "ops/cuda/divider.h"
#include "ops/cuda/geometry.h"

namespace mpelu::cuda {

/// What a thread takes of a tile: the rows begin, begin + height, ... before end, in the columns of
/// one access. A thread beside the last column has no rows.
struct Strip {
  uint32_t split;
  int64_t column;  // in accesses
  bool inside;
  int64_t begin;
  int64_t end;
};

/// A tensor seen as [outer, columns]; columns are counted in accesses. A block takes one split of a
/// tile, some columns side by side.
struct ColumnsGeometry {
  int64_t outer;
  int64_t split_length;
  int64_t columns;
  uint32_t tiles;
  int width;
  int height;
  Divider inner;

  ColumnsGeometry(const Layout& layout, const Plan& plan)
      : outer(layout.outer),
        split_length(plan.split_length),
        columns(plan.columns / plan.elements_per_access),
        tiles(static_cast<uint32_t>(plan.tiles)),
        width(plan.width),
        height(plan.height()),
        inner(layout.inner, plan.columns) {}

  __device__ Strip strip() const {
    const uint32_t split = blockIdx.x / tiles;
    const int64_t tile = blockIdx.x - split * tiles;
    const int y = threadIdx.x / width;
    const int x = threadIdx.x - y * width;
    const int64_t column = tile * width + x;
    const bool inside = column < columns;
    const int64_t begin = split * split_length;
    const int64_t limit = begin + split_length;
    const int64_t last = limit < outer ? limit : outer;
    return {split, column, inside, begin + y, inside ? last : begin};
  }

  /// The channel of element i of a strip's accesses of N elements.
  template <int N>
  __device__ uint32_t channel(const Strip& strip, int i) const {
    return static_cast<uint32_t>(inner.divide(strip.inside ? strip.column * N + i : 0).quotient);
  }
};

}  // namespace mpelu::cuda
