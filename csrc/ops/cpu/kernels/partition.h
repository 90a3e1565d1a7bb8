#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <numeric>

#include "ops/cpu/kernels/span.h"
#include "ops/layout.h"

// How the work is split, and why the sums do not depend on the number of threads: a tensor
// [outer, C, inner] is cut into units whose borders come from its sizes alone. A unit is summed by
// one thread, in one order; its sums have a place of their own; and the units' sums are added up in
// the order of their numbers. Threads only decide who does a unit, never what it is.
//
// There are two ways to cut. Where inner is long, a unit is a segment of one channel's row: its
// parameters are constants and its sums two vectors. Where inner is short, down to channels last,
// the tensor is [rows, columns] with columns = C * inner (several times over where that is short
// too) and a unit is a tile of it: every column has its own parameters and its own sums.
//
// Sums are short in the precision of the arithmetic, kBlock or kTileRows elements, and go on in
// compensated doubles (sum.h), so that their error does not grow with the tensor.
namespace mpelu::cpu {
// Another type or function in each build of this file, as Vectorized itself is.
inline namespace CPU_CAPABILITY {

/// Elements of a row that one unit takes.
constexpr int64_t kSegment = 4096;
/// Elements of a segment that go into one vector of sums before it is added to the segment's.
constexpr int64_t kBlock = 512;
/// Elements of work that are worth a thread.
constexpr int64_t kGrain = 32768;
/// Columns of a tile: its parameters and sums stay in the first-level cache.
constexpr int64_t kTileColumns = 512;
/// Rows of a tile: as many additions to a column's sum before it goes on in double.
constexpr int64_t kTileRows = 64;
/// Short periods are repeated up to about so many columns, in whole vectors if possible.
constexpr int64_t kRepeatedColumns = 128;
constexpr int64_t kLongestVector = 32;

inline int64_t ceil_divide(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// An output of at least so many bytes is written past the caches. Smaller ones are likely to be
/// read again while a cache has them.
constexpr uint64_t kStreamedBytes = uint64_t{16} << 20;

/// What lies this far ahead is asked for in advance: a page, past what the hardware fetches by
/// itself.
constexpr int64_t kAheadBytes = 4096;

template <typename scalar_t>
bool is_streamed(const scalar_t* output, const scalar_t* input, const Layout& layout) {
  return output != input && layout.numel() * sizeof(scalar_t) >= kStreamedBytes;
}

/// Calls body(begin, end) for ranges of units, on several threads where there is work for them.
template <typename Body>
void parallel_units(int64_t units, int64_t elements_per_unit, const Body& body) {
  at::parallel_for(0, units, std::max<int64_t>(1, kGrain / elements_per_unit),
                   [&](int64_t begin, int64_t end) {
                     body(begin, end);
                     finish_streams();
                   });
}

struct Segments {
  explicit Segments(const Layout& layout)
      : layout(layout),
        per_row(ceil_divide(layout.inner, kSegment)),
        count(layout.outer * layout.channels * per_row) {}

  struct Unit {
    int64_t number;
    int64_t channel;
    int64_t offset;
    int64_t size;
  };

  /// Calls body(unit) for the units begin, ..., end - 1.
  template <typename Body>
  void for_each(int64_t begin, int64_t end, const Body& body) const {
    int64_t row = begin / per_row;
    int64_t segment = begin % per_row;
    int64_t channel = row % layout.channels;
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t first = segment * kSegment;
      body(Unit{unit, channel, row * layout.inner + first,
                std::min(kSegment, layout.inner - first)});
      if (++segment == per_row) {
        segment = 0;
        ++row;
        channel = channel + 1 == layout.channels ? 0 : channel + 1;
      }
    }
  }

  int64_t elements_per_unit() const { return std::min(layout.inner, kSegment); }

  template <typename scalar_t>
  Access access(const scalar_t* output, const scalar_t* input) const {
    return {kAheadBytes / static_cast<int64_t>(sizeof(scalar_t)),
            is_streamed(output, input, layout)};
  }

  Layout layout;
  int64_t per_row;
  int64_t count;
};

struct Tiles {
  explicit Tiles(const Layout& layout)
      : layout(layout),
        period(layout.channels * layout.inner),
        columns(period * repeats(period, layout.outer)),
        rows(ceil_divide(layout.numel(), columns)),
        across(ceil_divide(columns, kTileColumns)),
        down(ceil_divide(rows, kTileRows)),
        count(across * down) {}

  struct Unit {
    int64_t row_begin;
    int64_t row_end;
    int64_t column;
    int64_t size;
  };

  /// Tile unit, its number counted along the rows first.
  Unit operator[](int64_t unit) const {
    const int64_t row = (unit / across) * kTileRows;
    const int64_t column = (unit % across) * kTileColumns;
    return {row, std::min(row + kTileRows, rows), column, std::min(kTileColumns, columns - column)};
  }

  /// Elements of the tensor in a tile's row: fewer than its columns at the tensor's end.
  int64_t row_size(const Unit& unit, int64_t row) const {
    return std::min(unit.size, layout.numel() - row * columns - unit.column);
  }

  /// Ahead is some rows below in the same columns, as many as the tile has in kAheadBytes.
  template <typename scalar_t>
  Access access(const scalar_t* output, const scalar_t* input) const {
    const int64_t row_bytes = std::min(columns, kTileColumns) * sizeof(scalar_t);
    return {columns * ceil_divide(kAheadBytes, row_bytes), is_streamed(output, input, layout)};
  }

  int64_t elements_per_unit() const {
    return std::min(rows, kTileRows) * std::min(columns, kTileColumns);
  }

  Layout layout;
  int64_t period;   // C * inner, after which the channels repeat
  int64_t columns;  // whole periods
  int64_t rows;
  int64_t across;  // tiles side by side
  int64_t down;    // tiles one below the other
  int64_t count;

 private:
  static int64_t repeats(int64_t period, int64_t outer) {
    if (period >= kRepeatedColumns) {
      return 1;
    }
    const int64_t whole_vectors = kLongestVector / std::gcd(period, kLongestVector);
    const int64_t enough = ceil_divide(kRepeatedColumns, period * whole_vectors) * whole_vectors;
    return std::min(enough, outer);
  }
};

}  // namespace CPU_CAPABILITY
}  // namespace mpelu::cpu
