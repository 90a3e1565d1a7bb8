#pragma once

#include <cstdint>

#include "ops/cuda/divider.h"
#include "ops/cuda/geometry.h"

namespace mpelu::cuda {

/// What a block takes of a channel: the accesses begin, ..., end - 1 of its rows, as if these were
/// one after another.
struct Stretch {
  uint32_t channel;
  int64_t begin;
  int64_t end;
};

/// The rows of a channel, [outer, inner]; lengths are in accesses.
struct RowsGeometry {
  int64_t length;
  int64_t split_length;
  int64_t channels;
  Divider row_length;

  RowsGeometry(const Layout& layout, const Plan& plan)
      : length(layout.outer * layout.inner / plan.elements_per_access),
        split_length(plan.split_length),
        channels(layout.channels),
        row_length(layout.inner / plan.elements_per_access, plan.splits * plan.split_length) {}

  __device__ Stretch stretch() const {
    const auto count = static_cast<uint32_t>(channels);
    const uint32_t split = blockIdx.x / count;
    const int64_t begin = split * split_length;
    const int64_t limit = begin + split_length;
    return {blockIdx.x - split * count, begin, limit < length ? limit : length};
  }

  /// Where an access of the channel's is in the tensor.
  __device__ int64_t offset(int64_t access, uint32_t channel) const {
    const int64_t row = row_length.divide(access).quotient;
    return access + (row * (channels - 1) + channel) * row_length.divisor();
  }
};

}  // namespace mpelu::cuda
