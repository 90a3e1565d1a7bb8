#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "ops/cpu/kernels/columns.h"
#include "ops/cpu/kernels/partition.h"
#include "ops/cpu/sum.h"

// The loops over a whole tensor, whichever way it is cut: a kernel says what happens to the
// elements of a run, which lie side by side in memory, and is shown their channels.
namespace mpelu::cpu {
// Another type or function in each build of this file, as Vectorized itself is.
inline namespace CPU_CAPABILITY {

/// Rows of fewer bytes than this go by columns ...
constexpr int64_t kRowBytes = 512;
/// ... unless the columns' parameters would be read for no more than this many rows of them.
constexpr int64_t kFewRows = 8;

template <typename scalar_t>
bool has_long_rows(const Layout& layout) {
  constexpr int64_t kRow = kRowBytes / sizeof(scalar_t);
  constexpr int64_t kVector = at::vec::Vectorized<scalar_t>::size();
  static_assert(kRow <= kTileColumns);
  static_assert(SpanPack<1, scalar_t>::kSize <= kColumnsBeyond);
  return layout.channels == 1 || layout.inner >= kRow ||
         (layout.inner >= kVector && layout.outer <= kFewRows);
}

/// Calls body(run, visit) for the runs that make up the tensor; visit(i, element) calls
/// element(channel) for the vector at element i of the run, with its channels as lanes.
template <typename scalar_t, typename Lane, typename Body>
void for_each_run(const Layout& layout, const std::vector<Lane>& lanes, Outputs outputs,
                  const Body& body) {
  if (has_long_rows<scalar_t>(layout)) {
    const Segments segments(layout, sizeof(scalar_t));
    for_each_in_parallel(segments, [&](const Segments::Unit& unit) {
      body(segments.run(unit, outputs),
           [channel = broadcast(lanes[unit.channel])](int64_t /*i*/, const auto& element)
               MPELU_ALWAYS_INLINE { element(channel); });
    });
  } else {
    const Tiles tiles(layout, sizeof(scalar_t));
    share_out(tiles, [&](const auto& for_each_unit) {
      ColumnLanes<Lane> columns(lanes, layout.inner);
      for_each_unit([&](const Tiles::Unit& unit) {
        const auto channel_at = columns.from(unit.channel, unit.channels);
        tiles.for_each_run(unit, outputs, [&](const auto& run, int64_t column) {
          body(run, [channel_at, column](int64_t i, const auto& element)
                        MPELU_ALWAYS_INLINE { element(channel_at(column + i)); });
        });
      });
    });
  }
}

/// Sums of a channel's elements, for each channel.
template <size_t K>
using ChannelTotals = std::vector<SumArray<double, K>>;

template <typename V, size_t K>
SumArray<V, K> zero_sums() {
  SumArray<V, K> sums;
  sums.fill(V(0));
  return sums;
}

/// Not inlined: together with other vectors' sums, GCC would convert the lanes one by one.
template <typename T>
C10_NOINLINE double lane_sum(const at::vec::Vectorized<T>& vector) {
  using V = at::vec::Vectorized<T>;
  std::array<T, V::size()> lanes;
  vector.store(lanes.data());
  return sum_by_halves(lanes);
}

/// The sums of the units, added up by channel.
template <size_t K>
class Totals {
 public:
  explicit Totals(int64_t channels) : totals_(channels) {}

  void add(int64_t channel, const SumArray<double, K>& sums) {
    for (size_t k = 0; k < K; ++k) {
      totals_[channel][k].add(sums[k]);
    }
  }

  ChannelTotals<K> values() const {
    ChannelTotals<K> values(totals_.size());
    for (size_t channel = 0; channel < totals_.size(); ++channel) {
      for (size_t k = 0; k < K; ++k) {
        values[channel][k] = totals_[channel][k].value();
      }
    }
    return values;
  }

 private:
  std::vector<SumArray<CompensatedSum, K>> totals_;
};

template <size_t K, typename scalar_t, typename Lane, typename Body>
ChannelTotals<K> sum_rows(const Layout& layout, const std::vector<Lane>& lanes, Outputs outputs,
                          const Body& body) {
  using V = typename Lane::V;
  const Segments segments(layout, sizeof(scalar_t), /*several_rows=*/true);
  ChannelTotals<K> partial(segments.count);
  for_each_in_parallel(segments, [&](const Segments::Unit& unit) {
    const auto broadcasted = broadcast(lanes[unit.channel]);
    // A copy whose address no other function has: what the loops store is not in it, and it stays
    // in registers.
    const auto channel = broadcasted;
    auto sums = zero_sums<V, K>();
    segments.for_each_block(unit, outputs, [&](const Run<1>& run) MPELU_ALWAYS_INLINE {
      auto block = zero_sums<V, K>();
      body(run, [&](int64_t /*i*/, const auto& element)
                    MPELU_ALWAYS_INLINE { element(channel, block); });
      for (size_t k = 0; k < K; ++k) {
        sums[k] = sums[k] + block[k];
      }
    });
    for (size_t k = 0; k < K; ++k) {
      partial[unit.number][k] = lane_sum(sums[k]);
    }
  });
  Totals<K> totals(layout.channels);
  segments.for_each(0, segments.count, [&](const Segments::Unit& unit) {
    totals.add(unit.channel, partial[unit.number]);
  });
  return totals.values();
}

/// The sums of the tiles' channels, added up by channel.
template <size_t K>
class TileSums {
 public:
  explicit TileSums(const Tiles& tiles)
      : tiles_(tiles),
        channels_(std::min(tiles.width + tiles.overhang, tiles.layout.channels)),
        sums_(tiles.count * K * channels_) {}

  /// Takes a unit's sums, [K, unit.channels]. Those of a channel that it has several times over
  /// become one.
  void take(const Tiles::Unit& unit, const double* sums) {
    double* to = sums_.data() + unit.number * K * channels_;
    for (size_t k = 0; k < K; ++k, sums += unit.channels, to += channels_) {
      for (int64_t first = 0; first < unit.channels; first += channels_) {
        const int64_t count = std::min(channels_, unit.channels - first);
        for (int64_t i = 0; i < count; ++i) {
          to[i] += sums[first + i];
        }
      }
    }
  }

  ChannelTotals<K> totals() const {
    Totals<K> totals(tiles_.layout.channels);
    tiles_.for_each(0, tiles_.count, [&](const Tiles::Unit& unit) {
      const double* const from = sums_.data() + unit.number * K * channels_;
      for (int64_t i = 0; i < std::min(unit.channels, channels_); ++i) {
        SumArray<double, K> sums;
        for (size_t k = 0; k < K; ++k) {
          sums[k] = from[k * channels_ + i];
        }
        totals.add(unit.channel + i, sums);
      }
    });
    return totals.values();
  }

 private:
  const Tiles& tiles_;
  int64_t channels_;          // different ones of a tile
  std::vector<double> sums_;  // [tiles, K, channels]
};

template <size_t K, typename scalar_t, typename Lane, typename Body>
ChannelTotals<K> sum_columns(const Layout& layout, const std::vector<Lane>& lanes, Outputs outputs,
                             const Body& body) {
  const Tiles tiles(layout, sizeof(scalar_t));
  TileSums<K> tile_sums(tiles);
  share_out(tiles, [&](const auto& for_each_unit) {
    ColumnLanes<Lane> columns(lanes, layout.inner);
    ColumnSums<typename Lane::Scalar, K> column_sums;
    std::vector<double> channel_sums;
    for_each_unit([&](const Tiles::Unit& unit) {
      const auto channel_at = columns.from(unit.channel, unit.channels);
      channel_sums.assign(K * unit.channels, 0);
      tiles.for_each_block(unit, [&](const Tiles::Unit& block) {
        column_sums.clear(unit.channels * layout.inner);
        tiles.for_each_summed_run(block, outputs, [&](const auto& run, int64_t column) {
          body(run, [add = column_sums.adder(), channel_at, column](
                        int64_t i, const auto& element) MPELU_ALWAYS_INLINE {
            add(column + i,
                [&](auto& sums) MPELU_ALWAYS_INLINE { element(channel_at(column + i), sums); });
          });
        });
        column_sums.add_to(channel_sums.data(), unit.channels, layout.inner);
      });
      tile_sums.take(unit, channel_sums.data());
    });
  });
  return tile_sums.totals();
}

/// K sums over the elements of each channel. Calls body(run, visit) for the runs that make up the
/// tensor; visit(i, element) calls element(channel, sums) for the vector at element i of the run,
/// with its channels and the sums that it is to add to. body is to be inlined: sums that it gets
/// from a caller lie in memory, to be loaded and stored for every vector.
template <size_t K, typename scalar_t, typename Lane, typename Body>
ChannelTotals<K> sum_runs(const Layout& layout, const std::vector<Lane>& lanes, Outputs outputs,
                          const Body& body) {
  return has_long_rows<scalar_t>(layout) ? sum_rows<K, scalar_t>(layout, lanes, outputs, body)
                                         : sum_columns<K, scalar_t>(layout, lanes, outputs, body);
}

}  // namespace CPU_CAPABILITY
}  // namespace mpelu::cpu
