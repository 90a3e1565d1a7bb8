#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <numeric>

#include "ops/cpu/kernels/memory.h"
#include "ops/cpu/kernels/span.h"
#include "ops/layout.h"

// How the work is split, and why the sums do not depend on the number of threads: a tensor
// [outer, C, inner] is cut into units whose borders come from its sizes alone. A unit is summed by
// one thread, in one order; its sums have a place of their own; and the units' sums are added up in
// the order of their numbers. Threads only decide who does a unit, never what it is.
//
// There are two ways to cut. Where inner is long, a unit is a segment of one channel's row or, for
// sums, of a few of its rows: its parameters are constants and its sums two vectors. Where inner is
// short, down to channels last, the tensor is a matrix whose rows have every channel (several times
// over where those are few) and a unit is a tile of it, of whole channels (and, in large tensors,
// of what is left of their last line of memory): every column has its own sums, which are added to
// its channel's after each block of rows.
//
// Sums are short in the precision of the arithmetic, kBlock or kBlockRows elements, and go on in
// compensated doubles (sum.h), so that their error does not grow with the tensor.
namespace mpelu::cpu {
// Another type or function in each build of this file, as Vectorized itself is.
inline namespace CPU_CAPABILITY {

/// Elements of a row, or of a few rows, that one unit takes.
constexpr int64_t kSegment = 4096;
/// Elements of a segment that go into one vector of sums before it is added to the segment's.
constexpr int64_t kBlock = 1024;
/// Where one block ends and the next begins: at a multiple of this in the tensor, so that no line
/// of memory is written by two of them, as parts of vectors.
constexpr int64_t kBlockAlignment = 64;
/// The fewest elements that are worth a thread.
constexpr int64_t kGrain = 32768;
/// A tile has no more columns than this: what belongs to each of them stays in the first-level
/// cache while the tile's rows pass by, with the rows in use and those that are fetched ahead.
constexpr int64_t kTileColumns = 512;
/// Rows of no more columns than this are not cut: they lie one after another in memory.
constexpr int64_t kUncutColumns = 1024;
/// Tiles of large tensors have so many columns, and more where kWideTiles of them would lie side by
/// side, up to kWideTileBytes of one number for each: short pieces that lie apart cost more in
/// memory than what belongs to the columns does in the next cache.
constexpr int64_t kWideTiles = 16;
constexpr int64_t kWideTileBytes = 16384;
/// Where the elements have so many bytes. Their columns' numbers have as many, or a float's.
constexpr int64_t wide_tile_columns(int64_t item_size) {
  return kWideTileBytes / std::max<int64_t>(item_size, sizeof(float));
}
/// What of a wide tile is gone through at a time: less than the first-level cache has, so that what
/// is prefetched, the part that comes next, is still there when its turn comes.
constexpr int64_t kPartBytes = 8192;
/// Rows of a tile that go into its columns' sums before those are added to the channels'.
constexpr int64_t kBlockRows = 64;
/// A tile has more rows than that where it has fewer elements than this.
constexpr int64_t kTileElements = 65536;
/// Rows of few columns are repeated to so many, by whole lines of memory where possible.
constexpr int64_t kRepeatedColumns = 256;
static_assert(2 * kRepeatedColumns <= kUncutColumns);  // a row that is repeated is one tile's
static_assert(kUncutColumns <= wide_tile_columns(sizeof(double)));  // columns have room for it
/// Columns load their parameters, and load and store their sums, once for so many rows.
constexpr int kRowsAtATime = 4;

/// Calls work(for_each_unit) on as many threads as there is work for; there for_each_unit(body)
/// calls body(unit) for the thread's share of the partition's units, which follow one another.
template <typename Partition, typename Work>
void share_out(const Partition& partition, const Work& work) {
  at::parallel_for(0, partition.count, std::max<int64_t>(1, kGrain / partition.elements_per_unit()),
                   [&](int64_t begin, int64_t end) {
                     work([&](const auto& body) { partition.for_each(begin, end, body); });
                     finish_streams();
                   });
}

/// Calls body(unit) for all units of a partition, on several threads where there is work for them.
template <typename Partition, typename Body>
void for_each_in_parallel(const Partition& partition, const Body& body) {
  share_out(partition, [&](const auto& for_each_unit) { for_each_unit(body); });
}

struct Segments {
  /// Of a tensor whose elements have so many bytes. With several rows to a unit, as many as a
  /// segment has room for.
  Segments(const Layout& layout, int64_t item_size, bool several_rows = false)
      : layout(layout),
        prefetching(layout, item_size),
        per_row(ceil_divide(layout.inner, kSegment)),
        rows(several_rows ? std::clamp<int64_t>(kSegment / layout.inner, 1, layout.outer) : 1),
        count(ceil_divide(layout.outer, rows) * layout.channels * per_row) {}

  struct Unit {
    int64_t number;
    int64_t channel;
    int64_t first;  // element of its rows
    int64_t offset;
    int64_t size;  // in each of its rows
    int64_t rows;
  };

  /// Calls body(unit) for the units begin, ..., end - 1.
  template <typename Body>
  void for_each(int64_t begin, int64_t end, const Body& body) const {
    int64_t segment = begin % per_row;
    int64_t channel = begin / per_row % layout.channels;
    int64_t row = begin / per_row / layout.channels * rows;
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t first = segment * kSegment;
      body(Unit{unit, channel, first, row * stride() + channel * layout.inner + first,
                std::min(kSegment, layout.inner - first), std::min(rows, layout.outer - row)});
      if (++segment == per_row) {
        segment = 0;
        if (++channel == layout.channels) {
          channel = 0;
          row += rows;
        }
      }
    }
  }

  int64_t elements_per_unit() const { return rows * std::min(layout.inner, kSegment); }

  /// A unit of one row.
  Run<1> run(const Unit& unit, Outputs outputs) const {
    return run(unit, 0, 0, unit.size, outputs);
  }

  /// Calls body(run) for the runs that a unit's sums are taken of, one after another.
  template <typename Body>
  MPELU_ALWAYS_INLINE void for_each_block(const Unit& unit, Outputs outputs,
                                          const Body& body) const {
    for (int64_t row = 0; row < unit.rows; ++row) {
      int64_t size = 0;
      for (int64_t first = 0; first < unit.size; first += size) {
        const int64_t offset = unit.offset + row * stride() + first;
        size = std::min(kBlock - offset % kBlockAlignment, unit.size - first);
        auto block = run(unit, row, first, size, outputs);
        block.in_order = true;
        body(block);
      }
    }
  }

  Layout layout;
  Prefetching prefetching;
  int64_t per_row;  // units
  int64_t rows;     // of a unit
  int64_t count;

 private:
  int64_t stride() const { return layout.channels * layout.inner + layout.skipped; }

  /// `size` elements of a unit's row from `first` on.
  Run<1> run(const Unit& unit, int64_t row, int64_t first, int64_t size, Outputs outputs) const {
    const int64_t ahead = rows > 1 ? rows_ahead(unit, row) : elements_ahead(unit, first);
    return {unit.offset + row * stride() + first, 0, size,
            access_for(outputs, ahead, prefetching.far)};
  }

  /// From a unit's row to one that is gone through later, in the same unit or the next.
  int64_t rows_ahead(const Unit& unit, int64_t row) const {
    const int64_t ahead = std::min(ceil_divide(prefetching.distance, layout.inner), rows);
    if (row + ahead < unit.rows) {
      return ahead * stride();
    }
    const bool is_last = unit.channel + 1 == layout.channels;
    const int64_t next = is_last ? rows * stride() - unit.channel * layout.inner : layout.inner;
    return next + (ahead - unit.rows) * stride();
  }

  /// The same where units follow one another as their elements do in memory.
  int64_t elements_ahead(const Unit& unit, int64_t first) const {
    const int64_t ahead = prefetching.distance;
    if (layout.skipped == 0) {
      return ahead;
    }
    const int64_t place = unit.channel * layout.inner + unit.first + first;
    return ahead + (place + ahead) / (layout.channels * layout.inner) * layout.skipped;
  }
};

struct Tiles {
  /// Of a tensor whose elements have so many bytes.
  Tiles(const Layout& layout, int64_t item_size)
      : layout(layout),
        item_size(item_size),
        prefetching(layout, item_size),
        channels(layout.channels * repeats_of(layout, item_size)),
        columns(channels * layout.inner),
        rows(ceil_divide(layout.numel(), columns)),
        alignment(alignment_of_tiles()),
        overhang(ceil_divide(alignment - 1, layout.inner)),
        width(width_of_tiles()),
        height(kBlockRows *
               std::max<int64_t>(1, kTileElements / (kBlockRows * width * layout.inner))),
        down(ceil_divide(rows, height)),
        count(down * ceil_divide(channels, width)) {}

  struct Unit {
    int64_t number;
    int64_t row_begin;
    int64_t row_end;
    int64_t channel;
    int64_t channels;  // with those that its rows may hang over
  };

  /// Calls body(unit) for the units begin, ..., end - 1, numbered down the columns first.
  template <typename Body>
  void for_each(int64_t begin, int64_t end, const Body& body) const {
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t row = unit % down * height;
      const int64_t channel = unit / down * width;
      body(Unit{unit, row, std::min(row + height, rows), channel,
                std::min(width + overhang, channels - channel)});
    }
  }

  /// Calls body(block) for every kBlockRows rows of a tile.
  template <typename Body>
  static void for_each_block(const Unit& unit, const Body& body) {
    Unit block = unit;
    for (; block.row_begin < unit.row_end; block.row_begin += kBlockRows) {
      block.row_end = std::min(block.row_begin + kBlockRows, unit.row_end);
      body(block);
    }
  }

  /// Calls body(run, column) for the rows of a tile, some at a time. A run begins at that column of
  /// the tile. What is large and written in place goes row by row: the memory alone sets its pace,
  /// and likes that best.
  template <typename Body>
  void for_each_run(const Unit& unit, Outputs outputs, const Body& body) const {
    const bool large = is_large(layout, item_size);
    if (large && outputs == Outputs::kInMemory) {
      for_each_run_of<1>(unit, outputs, body);
    } else if (!large && are_whole_pages_apart()) {
      for_each_run_of<kRowsAtATime / 2>(unit, outputs, body);
    } else {
      for_each_run_of_most<kRowsAtATime>(unit, outputs, body);
    }
  }

  /// The same for rows that are added up. How many at a time is for the tensor's sizes alone to
  /// say, since the sums are in their order.
  template <typename Body>
  void for_each_summed_run(const Unit& unit, Outputs outputs, const Body& body) const {
    for_each_run_of_most<kRowsAtATime>(unit, outputs, body);
  }

  int64_t elements_per_unit() const { return std::min(rows, height) * width * layout.inner; }

  Layout layout;
  int64_t item_size;
  Prefetching prefetching;
  int64_t channels;  // of a row
  int64_t columns;
  int64_t rows;
  int64_t alignment;  // in elements, of the borders between tiles
  int64_t overhang;   // channels that a tile's rows may reach into past its own
  int64_t width;      // channels of a tile
  int64_t height;     // rows of a tile
  int64_t down;       // tiles one below another
  int64_t count;

 private:
  bool is_uncut() const { return columns <= kUncutColumns && layout.skipped == 0; }

  /// Large outputs are written in whole lines: two tiles that share one would wait for it, row by
  /// row.
  int64_t alignment_of_tiles() const {
    return !is_uncut() && is_large(layout, item_size) ? kLineBytes / item_size : 1;
  }

  int64_t stride() const { return columns + layout.skipped; }

  /// Such rows have the same places in the first-level cache, which are few.
  bool are_whole_pages_apart() const { return stride() * item_size % kPageBytes == 0; }

  /// The same with R rows at a time, or with half as many, and so on, as long as a store is half a
  /// line and two of a large tensor's R rows lie whole pages apart. Where halves of such lines are
  /// streamed in turns, it takes up to five times as long (Zen 3, AVX2).
  template <int R, typename Body>
  void for_each_run_of_most(const Unit& unit, Outputs outputs, const Body& body) const {
    constexpr bool kStoresHalfLines = sizeof(at::vec::Vectorized<float>) < kLineBytes;
    if constexpr (kStoresHalfLines && R > 1) {
      const int64_t bytes_between = R / 2 * rows_apart() * stride() * item_size;
      if (is_large(layout, item_size) && bytes_between % kPageBytes == 0) {
        return for_each_run_of_most<R / 2>(unit, outputs, body);
      }
    }
    for_each_run_of<R>(unit, outputs, body);
  }

  /// The same with R rows at a time where there are so many, half as many for the rest, and so on.
  template <int R, typename Body>
  void for_each_run_of(const Unit& unit, Outputs outputs, const Body& body) const {
    TORCH_INTERNAL_ASSERT_DEBUG_ONLY(outputs != Outputs::kPastCaches ||
                                     is_large(layout, item_size));
    // The tensor may end within its last row, which then goes alone.
    const int64_t end = R == 1 ? unit.row_end : std::min(unit.row_end, layout.numel() / columns);
    const Steps steps = steps_of(R, outputs);
    Unit rest = unit;
    for (; rest.row_begin + R * steps.apart <= end; rest.row_begin += R * steps.apart) {
      for (int64_t i = 0; i < steps.apart; ++i) {
        call_with_rows<R>(unit, rest.row_begin + i, steps, body);
      }
    }
    if constexpr (R > 1) {
      for_each_run_of<R / 2>(rest, outputs, body);
    }
  }

  /// Rows so far from each other begin at the same place of a line, which matters for what may be
  /// streamed.
  int64_t rows_apart() const {
    const int64_t line = is_large(layout, item_size) ? kLineBytes / item_size : 1;
    return line / std::gcd(stride(), line);
  }

  /// How a tile goes through several rows at a time.
  struct Steps {
    int64_t apart;  // rows, from one of them to the next
    int64_t below;  // elements, to those of the same columns that are prefetched
    int64_t part;   // columns
    Outputs outputs;
  };

  Steps steps_of(int64_t rows, Outputs outputs) const {
    const int64_t tile = width * layout.inner;
    const int64_t part = kPartBytes / (rows * item_size);
    const bool by_parts = tile > std::max(2 * part, kUncutColumns) && !are_whole_pages_apart();
    const int64_t apart = rows == 1 ? 1 : rows_apart();
    const int64_t next = apart == 1 ? rows : 1;
    const int64_t whole = columns + alignment;  // for a border may lie so much nearer
    return {apart, ceil_divide(prefetching.distance, rows * tile) * next * stride(),
            by_parts ? part : whole, outputs};
  }

  /// Each part prefetches the next, and the last what is below.
  template <int R, typename Body>
  void call_with_rows(const Unit& unit, int64_t row, const Steps& steps, const Body& body) const {
    const int64_t start = row * stride();
    const int64_t first = unit.channel * layout.inner;
    const int64_t begin = border(start, first);
    // The tensor may end within its last row.
    const int64_t end = std::min(border(start, std::min(first + width * layout.inner, columns)),
                                 layout.numel() - row * columns);
    for (int64_t at = begin, to; at < end; at = to) {
      to = std::min(line_before(start, at + steps.part), end);
      const int64_t ahead = to < end ? steps.part : steps.below - (at - begin);
      body(Run<R>{start + at, steps.apart * stride(), to - at,
                  access_for(steps.outputs, ahead, prefetching.far)},
           at - first);
    }
  }

  /// Where a tile that ends at this column does so in a row of the tensor that starts here.
  int64_t border(int64_t start, int64_t column) const {
    const bool is_edge = column == 0 || column == columns;
    return is_edge ? column : std::min(line_before(start, column + alignment - 1), columns);
  }

  /// The last column up to this one that begins a line of such a row.
  int64_t line_before(int64_t start, int64_t column) const {
    return ((start + column) & -alignment) - start;
  }

  /// All of about one width, for threads to share.
  int64_t width_of_tiles() const {
    if (is_uncut()) {
      return channels;
    }
    const int64_t most =
        is_large(layout, item_size)
            ? std::clamp(columns / kWideTiles, kUncutColumns, wide_tile_columns(item_size))
            : kTileColumns;
    const int64_t widest = std::clamp<int64_t>(most / layout.inner - overhang, 1, channels);
    return ceil_divide(channels, ceil_divide(channels, widest));
  }

  /// How often a row has every channel. Where that is several times, the row is not to be cut.
  static int64_t repeats_of(const Layout& layout, int64_t item_size) {
    const int64_t period = layout.channels * layout.inner;
    if (period >= kTileColumns || layout.skipped > 0) {
      return 1;
    }
    const int64_t line = kLineBytes / item_size;
    int64_t whole_lines = line / std::gcd(period, line);
    while (period * whole_lines > kUncutColumns) {
      whole_lines /= 2;
    }
    const int64_t enough = ceil_divide(kRepeatedColumns, period * whole_lines) * whole_lines;
    return std::min(enough, layout.outer);
  }
};

}  // namespace CPU_CAPABILITY
}  // namespace mpelu::cpu
