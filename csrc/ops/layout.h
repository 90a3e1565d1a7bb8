#pragma once

#include <cstdint>

namespace mpelu {

inline int64_t ceil_divide(int64_t n, int64_t d) { return (n + d - 1) / d; }

/// A dense tensor as it lies in memory, [outer, channels, inner]. Every non-overlapping dense
/// tensor is of this form for any channel dimension: inner is that dimension's stride, so that
/// inner = 1 is channels last. One channel stands for parameters that all elements share: [1, 1,
/// numel].
struct Layout {
  int64_t outer;
  int64_t channels;
  int64_t inner;
  /// Elements of other channels after these ones, where this is a view of some of a tensor's.
  int64_t skipped = 0;

  int64_t numel() const { return outer * channels * inner; }

  /// Where the element at an offset would be if nothing were skipped.
  int64_t without_skipped(int64_t offset) const {
    return skipped == 0 ? offset : offset - offset / (channels * inner + skipped) * skipped;
  }
};

}  // namespace mpelu
