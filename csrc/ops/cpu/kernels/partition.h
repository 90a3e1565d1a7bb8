#pragma once

#include <ATen/Parallel.h>

#include <algorithm>

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
namespace mpelu::cpu {
// Another type or function in each build of this file, as Vectorized itself is.
inline namespace CPU_CAPABILITY {

/// Elements summed in the precision of the arithmetic before a sum goes on in double.
constexpr int64_t kSegment = 4096;
/// Elements of work that are worth a thread.
constexpr int64_t kGrain = 32768;
/// Columns of a tile: its parameters and sums stay in the first-level cache.
constexpr int64_t kTileColumns = 512;
/// Rows of a tile: as many additions to a column's sum before it goes on in double.
constexpr int64_t kTileRows = 64;

inline int64_t ceil_divide(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Calls body(begin, end) for ranges of units, on several threads where there is work for them.
template <typename Body>
void parallel_units(int64_t units, int64_t elements_per_unit, const Body& body) {
  at::parallel_for(0, units, std::max<int64_t>(1, kGrain / elements_per_unit), body);
}

struct Segments {
  explicit Segments(const Layout& layout)
      : layout(layout),
        per_row(ceil_divide(layout.inner, kSegment)),
        count(layout.outer * layout.channels * per_row) {}

  struct Unit {
    int64_t channel;
    int64_t offset;
    int64_t size;
  };

  Unit operator[](int64_t unit) const {
    const int64_t row = unit / per_row;
    const int64_t begin = (unit % per_row) * kSegment;
    return {row % layout.channels, row * layout.inner + begin,
            std::min(kSegment, layout.inner - begin)};
  }

  int64_t elements_per_unit() const { return std::min(layout.inner, kSegment); }

  Layout layout;
  int64_t per_row;
  int64_t count;
};

struct Tiles {
  explicit Tiles(const Layout& layout)
      : layout(layout),
        period(layout.channels * layout.inner),
        columns(period * std::clamp<int64_t>(kTileColumns / period, 1, layout.outer)),
        rows(ceil_divide(layout.numel(), columns)),
        across(ceil_divide(columns, kTileColumns)),
        down(ceil_divide(rows, kTileRows)) {}

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

  int64_t channel(int64_t column) const { return (column % period) / layout.inner; }
  int64_t elements_per_unit() const {
    return std::min(rows, kTileRows) * std::min(columns, kTileColumns);
  }

  Layout layout;
  int64_t period;   // C * inner, after which the channels repeat
  int64_t columns;  // whole periods
  int64_t rows;
  int64_t across;  // tiles side by side
  int64_t down;    // tiles one below the other
};

}  // namespace CPU_CAPABILITY
}  // namespace mpelu::cpu
