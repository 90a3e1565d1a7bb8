#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>

#include "math/real.h"
#include "ops/layout.h"

/// How the work is cut into blocks: plain arithmetic without CUDA, so that the CPU can test it.
///
/// Nothing here asks for the device's size. The cut decides the order of the sums, so that a
/// gradient has the same bits on every device.
namespace mpelu::cuda {

constexpr int64_t kAccessBytes = 16;

constexpr int kElementwiseThreads = 128;
constexpr int kBackwardThreads = 256;

/// Accesses that a thread has in flight for each tensor; fewer where those of one moment bring many
/// elements, which take registers and code.
MPELU_HOST_DEVICE constexpr int unroll(int64_t elements) { return elements > 4 ? 2 : 4; }

/// Fewer blocks of an elementwise kernel do not fill the largest device: a tensor that would be cut
/// into so few has its threads take one access each.
constexpr int64_t kFewBlocks = 1024;

/// The most that a block of an elementwise kernel takes, whatever its accesses and tensors.
constexpr int64_t kMostElementsOfBlock = kElementwiseThreads * 16;

/// Enough blocks to fill the largest device, few enough that adding up their sums costs nothing.
constexpr int64_t kBackwardBlocks = 1024;

/// Loop rounds that one block may take before it pays to cut its sum and launch a second kernel.
constexpr int64_t kRoundsOfOneLaunch = 4;

/// Shortest row, in bytes, that is read efficiently on its own: two sectors of 32 bytes.
constexpr int64_t kShortestRowBytes = 64;

/// Fewest elements of a column for which a sum per column (not per channel) is worth its memory.
constexpr int64_t kShortestColumn = 32;

/// Neighbours that a thread of batch norm takes: each may be of another channel, which has more
/// numbers than the activation's alone.
constexpr int64_t kBatchNormColumns = 4;

/// How a backward takes its sums. Each block reduces a part of the tensor to sums, one for each
/// column of the tensor seen as [outer, columns]; there are `splits` sums to a column.
struct BackwardPlan {
  enum class Reduction {
    /// A block owns a part of one channel: [outer, inner] with rows that are apart in memory.
    Rows,
    /// A thread owns some columns of [outer, channels * inner]; a block owns a tile of them.
    Columns,
  };

  Reduction reduction;
  int64_t elements_per_access;
  int threads;
  /// Threads side by side in a row of the tile; 1 for Reduction::Rows.
  int width;
  /// Blocks side by side: channels for Reduction::Rows, tiles for Reduction::Columns.
  int64_t tiles;
  int64_t splits;
  /// Length of a split: accesses for Reduction::Rows, rows for Reduction::Columns.
  int64_t split_length;
  /// Sums of one split: channels for Reduction::Rows, channels * inner for Reduction::Columns.
  int64_t columns;

  int height() const { return threads / width; }
  int64_t blocks() const { return tiles * splits; }
  int64_t sums() const { return columns * splits; }
};

/// How many threads share `length` items, one at a time: a power of two, from `fewest` to a
/// block's.
inline int threads_for(int64_t length, int64_t fewest) {
  return static_cast<int>(
      std::bit_ceil(static_cast<uint64_t>(std::clamp(length, fewest, int64_t{kBackwardThreads}))));
}

namespace detail {

/// Cuts `length` items, of which a block takes `round` per loop round, `tiles` times side by side.
inline void split(BackwardPlan& plan, int64_t length, int64_t round) {
  const int64_t rounds = ceil_divide(length, round);
  const int64_t wanted = rounds <= kRoundsOfOneLaunch
                             ? 1
                             : std::clamp(kBackwardBlocks / plan.tiles, int64_t{1}, rounds);
  plan.split_length = ceil_divide(rounds, wanted) * round;
  plan.splits = ceil_divide(length, plan.split_length);
}

inline BackwardPlan plan_rows(const Layout& layout, int64_t elements_per_access) {
  const int64_t length = layout.outer * layout.inner / elements_per_access;
  BackwardPlan plan{};
  plan.reduction = BackwardPlan::Reduction::Rows;
  plan.elements_per_access = elements_per_access;
  plan.threads = threads_for(length, 32);
  plan.width = 1;
  plan.tiles = layout.channels;
  plan.columns = layout.channels;
  split(plan, length, plan.threads * unroll(elements_per_access));
  return plan;
}

inline BackwardPlan plan_columns(const Layout& layout, int64_t elements_per_access) {
  BackwardPlan plan{};
  plan.reduction = BackwardPlan::Reduction::Columns;
  plan.elements_per_access = elements_per_access;
  plan.columns = layout.channels * layout.inner;
  // Tiles of equal width, a warp wide where there are rows enough for the other threads.
  const int64_t accesses = plan.columns / elements_per_access;
  const int64_t widest = kBackwardThreads / std::min<int64_t>(layout.outer, 8);
  plan.width = static_cast<int>(ceil_divide(accesses, ceil_divide(accesses, widest)));
  plan.tiles = ceil_divide(accesses, plan.width);
  const int64_t height = std::min<int64_t>(layout.outer, kBackwardThreads / plan.width);
  plan.threads = static_cast<int>(plan.width * height);
  split(plan, layout.outer, height * unroll(elements_per_access));
  return plan;
}

}  // namespace detail

/// Whether pointers fit accesses of 16 bytes.
template <typename... Pointers>
bool are_aligned(const Pointers*... pointers) {
  return ((reinterpret_cast<uintptr_t>(pointers) % kAccessBytes == 0) && ...);
}

/// The plan for a tensor of at least one element; aligned says that all its pointers are. A thread
/// gets no more than most_columns columns: it has the parameters and sums of each in registers.
inline BackwardPlan plan_backward(const Layout& layout, int64_t element_size, bool aligned,
                                  int64_t most_columns = std::numeric_limits<int64_t>::max()) {
  const int64_t widest = kAccessBytes / element_size;
  const int64_t widest_columns = std::min(widest, most_columns);
  const int64_t columns = layout.channels * layout.inner;
  const bool wide_rows = aligned && layout.inner % widest == 0;
  const bool wide_columns = aligned && columns % widest_columns == 0;

  const bool by_columns = layout.inner * element_size < kShortestRowBytes
                              ? layout.channels > 1
                              : !wide_rows && wide_columns && layout.outer >= kShortestColumn;
  return by_columns ? detail::plan_columns(layout, wide_columns ? widest_columns : 1)
                    : detail::plan_rows(layout, wide_rows ? widest : 1);
}

}  // namespace mpelu::cuda
