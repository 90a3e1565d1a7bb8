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
constexpr int kTileThreads = 256;

/// Accesses that a thread has in flight for each tensor; fewer where those of one moment bring many
/// elements, which take registers and code.
MPELU_HOST_DEVICE constexpr int unroll(int64_t elements) { return elements > 4 ? 2 : 4; }

/// So few blocks of an elementwise kernel do not fill the largest device: a tensor that would be
/// cut into no more has its threads take one access each.
constexpr int64_t kFewBlocks = 1024;

/// The most that a block of an elementwise kernel takes, whatever its accesses and tensors.
constexpr int64_t kMostElementsOfBlock = kElementwiseThreads * 16;

/// Enough blocks to fill the largest device, few enough that what each does once costs nothing:
/// reading its channels' numbers, and adding up its sums.
constexpr int64_t kManyBlocks = 1024;

/// Where nothing is added up: several times what the largest device holds at a time, which waits
/// little for the last of them then.
constexpr int64_t kElementwiseBlocks = 2048;

/// Accesses side by side in a tile of an elementwise kernel, at most: rows of 2 KB.
constexpr int64_t kElementwiseTile = 128;

/// Loop rounds of a thread for which it is worth its while to stay with a column whose accesses are
/// of one channel.
constexpr int64_t kRoundsOfLongColumns = 2;

/// Loop rounds that one block may take before it pays to cut its sum and launch a second kernel.
constexpr int64_t kRoundsOfOneLaunch = 4;

/// Shortest row, in bytes, that is read efficiently on its own: two sectors of 32 bytes.
constexpr int64_t kShortestRowBytes = 64;

/// Fewest elements of a column for which a sum per column (not per channel) is worth its memory.
constexpr int64_t kShortestColumn = 32;

/// Neighbours that a thread of batch norm takes: each may be of another channel, which has more
/// numbers than the activation's alone.
constexpr int64_t kBatchNormColumns = 4;

/// How the blocks of a kernel share a tensor whose channels each have numbers of their own. One
/// that takes sums reduces a block's part to sums, one for each column of the tensor seen as
/// [outer, columns]; there are `splits` sums to a column.
struct Plan {
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
  /// Whether each of `count` parameters has one sum.
  bool sums_each(int64_t count) const { return splits == 1 && columns == count; }
};

/// How many threads share `length` items, one at a time: a power of two, from `fewest` to a
/// block's.
inline int threads_for(int64_t length, int64_t fewest) {
  return static_cast<int>(
      std::bit_ceil(static_cast<uint64_t>(std::clamp(length, fewest, int64_t{kTileThreads}))));
}

/// How many results a block puts together side by side, each by so many threads: up to a warp's.
inline int results_of_block(int threads) { return std::min(kTileThreads / threads, 32); }

namespace detail {

/// Into how many blocks a tensor is cut, or somewhat more; one block takes what it can in so many
/// rounds of its loop.
struct Cut {
  int64_t blocks;
  int64_t rounds_of_one;
};

constexpr Cut kCutOfSums{.blocks = kManyBlocks, .rounds_of_one = kRoundsOfOneLaunch};
/// Where nothing is added up, blocks may be as many as there are rounds.
constexpr Cut kElementwiseCut{.blocks = kElementwiseBlocks, .rounds_of_one = 1};

/// Cuts `length` items, of which a block takes `round` per loop round, `tiles` times side by side.
inline void split(Plan& plan, int64_t length, int64_t round, const Cut& cut) {
  const int64_t rounds = ceil_divide(length, round);
  const int64_t wanted =
      rounds <= cut.rounds_of_one ? 1 : std::min(ceil_divide(cut.blocks, plan.tiles), rounds);
  plan.split_length = ceil_divide(rounds, wanted) * round;
  plan.splits = ceil_divide(length, plan.split_length);
}

inline Plan plan_rows(const Layout& layout, int64_t elements_per_access) {
  const int64_t length = layout.outer * layout.inner / elements_per_access;
  Plan plan{};
  plan.reduction = Plan::Reduction::Rows;
  plan.elements_per_access = elements_per_access;
  plan.threads = threads_for(length, 32);
  plan.width = 1;
  plan.tiles = layout.channels;
  plan.columns = layout.channels;
  split(plan, length, plan.threads * unroll(elements_per_access), kCutOfSums);
  return plan;
}

/// A tile has at most `widest` accesses side by side; `in_flight` is the number of rows that a
/// thread has in flight.
inline Plan plan_columns(const Layout& layout, int64_t elements_per_access, int64_t widest,
                         int64_t in_flight, const Cut& cut) {
  Plan plan{};
  plan.reduction = Plan::Reduction::Columns;
  plan.elements_per_access = elements_per_access;
  plan.columns = layout.channels * layout.inner;
  // Tiles of equal width.
  const int64_t accesses = plan.columns / elements_per_access;
  plan.width = static_cast<int>(ceil_divide(accesses, ceil_divide(accesses, widest)));
  plan.tiles = ceil_divide(accesses, plan.width);
  const int64_t height = std::min<int64_t>(layout.outer, kTileThreads / plan.width);
  plan.threads = static_cast<int>(plan.width * height);
  split(plan, layout.outer, height * in_flight, cut);
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
inline Plan plan_sums(const Layout& layout, int64_t element_size, bool aligned,
                      int64_t most_columns = std::numeric_limits<int64_t>::max()) {
  const int64_t widest = kAccessBytes / element_size;
  const int64_t widest_columns = std::min(widest, most_columns);
  const int64_t columns = layout.channels * layout.inner;
  const bool wide_rows = aligned && layout.inner % widest == 0;
  const bool wide_columns = aligned && columns % widest_columns == 0;

  const bool by_columns = layout.inner * element_size < kShortestRowBytes
                              ? layout.channels > 1
                              : !wide_rows && wide_columns && layout.outer >= kShortestColumn;
  if (!by_columns) {
    return detail::plan_rows(layout, wide_rows ? widest : 1);
  }
  const int64_t elements_per_access = wide_columns ? widest_columns : 1;
  // A warp wide where there are rows enough for the other threads: they add up what they have.
  const int64_t tile = kTileThreads / std::min<int64_t>(layout.outer, 8);
  return detail::plan_columns(layout, elements_per_access, tile, unroll(elements_per_access),
                              detail::kCutOfSums);
}

/// Whether so many elements make few blocks of so many.
inline bool is_small(int64_t numel, int64_t elements_of_block) {
  return ceil_divide(numel, elements_of_block) <= kFewBlocks;
}

/// Whether accesses that begin with a row have elements of several channels, whose numbers a thread
/// had better read once for many rows.
inline bool has_mixed_columns(const Layout& layout, int64_t elements_per_access) {
  return layout.channels > 1 && layout.inner % elements_per_access != 0 &&
         layout.channels * layout.inner % elements_per_access == 0;
}

/// The plan of an elementwise kernel by columns.
inline Plan plan_columnwise(const Layout& layout, int64_t elements_per_access, int64_t in_flight) {
  return detail::plan_columns(layout, elements_per_access, kElementwiseTile, in_flight,
                              detail::kElementwiseCut);
}

/// Whether accesses have elements of one channel, and a thread that stays with its column has many
/// rows, so that it need not find the channel of each access. With few it would only have waited
/// for the channel's numbers before it asks for its elements.
inline bool has_long_columns(const Layout& layout, int64_t elements_per_access, int64_t in_flight) {
  if (layout.channels == 1 || layout.inner % elements_per_access != 0) {
    return false;
  }
  const Plan plan = plan_columnwise(layout, elements_per_access, in_flight);
  return plan.split_length >= kRoundsOfLongColumns * in_flight * plan.height();
}

}  // namespace mpelu::cuda
