#include <ATen/Dispatch.h>

#include <vector>

#include "ops/cpu/kernels/partition.h"
#include "ops/cpu/kernels/span.h"
#include "ops/cpu/kernels/stubs.h"
#include "ops/cpu/sum.h"

namespace mpelu::cpu {
namespace {

/// Shorter rows than this many packs go by columns, ...
constexpr int64_t kRowPacks = 8;
/// ... unless the columns' parameters would be read for no more than this many rows of them.
constexpr int64_t kFewRows = 8;

template <typename scalar_t>
bool has_long_rows(const Layout& layout) {
  const int64_t packs = layout.inner / Pack<scalar_t>::kSize;
  return layout.channels == 1 || packs >= kRowPacks || (packs > 0 && layout.outer <= kFewRows);
}

/// The parameters of every channel.
template <typename T>
std::vector<math::Lane<T>> make_lanes(const Parameter& alpha, const Parameter& beta,
                                      int64_t channels) {
  std::vector<math::Lane<T>> lanes;
  lanes.reserve(channels);
  for (int64_t channel = 0; channel < channels; ++channel) {
    lanes.emplace_back(alpha.at<T>(channel), beta.at<T>(channel));
  }
  return lanes;
}

/// Calls body(column, channel) for every column.
template <typename Body>
void for_each_column(const Tiles& tiles, const Body& body) {
  int64_t column = 0;
  while (column < tiles.columns) {
    for (int64_t channel = 0; channel < tiles.layout.channels; ++channel) {
      for (int64_t i = 0; i < tiles.layout.inner; ++i) {
        body(column++, channel);
      }
    }
  }
}

template <typename scalar_t, typename T = at::opmath_type<scalar_t>>
ManyChannels<T> by_column(const std::vector<math::Lane<T>>& lanes, const Tiles& tiles) {
  ManyChannels<T> columns(tiles.columns + Pack<scalar_t>::kSize);
  for_each_column(tiles,
                  [&](int64_t column, int64_t channel) { columns.set(column, lanes[channel]); });
  return columns;
}

template <typename scalar_t>
void forward_rows(scalar_t* output, const scalar_t* input, const Parameter& alpha,
                  const Parameter& beta, const Layout& layout) {
  using T = at::opmath_type<scalar_t>;
  const auto lanes = make_lanes<T>(alpha, beta, layout.channels);
  const Segments segments(layout);
  const auto access = segments.access(output, input);
  parallel_units(segments.count, segments.elements_per_unit(), [&](int64_t begin, int64_t end) {
    segments.for_each(begin, end, [&](const Segments::Unit& unit) {
      forward_span(output + unit.offset, input + unit.offset, unit.size, access,
                   [channel = broadcast(lanes[unit.channel])](int64_t /*i*/)
                       MPELU_ALWAYS_INLINE { return channel; });
    });
  });
}

template <typename scalar_t>
void forward_columns(scalar_t* output, const scalar_t* input, const Parameter& alpha,
                     const Parameter& beta, const Layout& layout) {
  using T = at::opmath_type<scalar_t>;
  const Tiles tiles(layout);
  const auto columns = by_column<scalar_t>(make_lanes<T>(alpha, beta, layout.channels), tiles);
  const auto access = tiles.access(output, input);
  parallel_units(tiles.count, tiles.elements_per_unit(), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto unit = tiles[i];
      for (int64_t row = unit.row_begin; row < unit.row_end; ++row) {
        const int64_t offset = row * tiles.columns + unit.column;
        forward_span(output + offset, input + offset, tiles.row_size(unit, row), access,
                     columns.from(unit.column));
      }
    }
  });
}

template <typename T>
double lane_sum(const at::vec::Vectorized<T>& vector) {
  __at_align__ T lanes[at::vec::Vectorized<T>::size()];
  vector.store(lanes);
  double sum = 0;
  for (const T lane : lanes) {
    sum += static_cast<double>(lane);
  }
  return sum;
}

using TotalSums = std::vector<math::Sums<CompensatedSum>>;

/// The gradients of the parameters, from the sums over each channel's elements.
template <typename T>
void finish(const ChannelSums& sums, const TotalSums& totals, const Parameter& alpha,
            const Parameter& beta) {
  for (size_t i = 0; i < totals.size(); ++i) {
    const math::Sums<double> total{totals[i].alpha.value(), totals[i].beta.value()};
    const auto channel = math::make_channel(alpha.at<T>(i), beta.at<T>(i));
    const auto gradients = math::parameter_gradients(total, channel);
    sums.alpha[i] = gradients.alpha;
    sums.beta[i] = gradients.beta;
  }
}

/// The sums over a segment of one channel.
template <typename scalar_t, typename T = at::opmath_type<scalar_t>>
math::Sums<double> backward_segment(scalar_t* grad_input, const scalar_t* grad_output,
                                    const scalar_t* input, int64_t size, const math::Lane<T>& lane,
                                    const Access& access) {
  using V = at::vec::Vectorized<T>;
  const auto channel = broadcast(lane);
  math::Sums<V> sums{V(T(0)), V(T(0))};
  for (int64_t first = 0; first < size; first += kBlock) {
    math::Sums<V> block{V(T(0)), V(T(0))};
    backward_span(grad_input + first, grad_output + first, input + first,
                  std::min(kBlock, size - first), access,
                  [&](const V& g, const V& x, int64_t /*i*/)
                      MPELU_ALWAYS_INLINE { return math::backward(g, x, channel, block); });
    sums.alpha = sums.alpha + block.alpha;
    sums.beta = sums.beta + block.beta;
  }
  return {lane_sum(sums.alpha), lane_sum(sums.beta)};
}

template <typename scalar_t>
void backward_rows(scalar_t* grad_input, const ChannelSums& sums, const scalar_t* grad_output,
                   const scalar_t* input, const Parameter& alpha, const Parameter& beta,
                   const Layout& layout) {
  using T = at::opmath_type<scalar_t>;
  const auto lanes = make_lanes<T>(alpha, beta, layout.channels);
  const Segments segments(layout);
  const auto access = segments.access(grad_input, input);
  std::vector<math::Sums<double>> partial(segments.count);
  parallel_units(segments.count, segments.elements_per_unit(), [&](int64_t begin, int64_t end) {
    segments.for_each(begin, end, [&](const Segments::Unit& unit) {
      partial[unit.number] =
          backward_segment(grad_input + unit.offset, grad_output + unit.offset, input + unit.offset,
                           unit.size, lanes[unit.channel], access);
    });
  });
  TotalSums totals(layout.channels);
  segments.for_each(0, segments.count, [&](const Segments::Unit& unit) {
    totals[unit.channel].alpha.add(partial[unit.number].alpha);
    totals[unit.channel].beta.add(partial[unit.number].beta);
  });
  finish<T>(sums, totals, alpha, beta);
}

/// Adds to a tile's sums, one for each of its columns; whole packs.
template <typename scalar_t, typename T = at::opmath_type<scalar_t>>
void backward_tile(scalar_t* grad_input, const scalar_t* grad_output, const scalar_t* input,
                   const Tiles& tiles, const Tiles::Unit& unit, const ManyChannels<T>& columns,
                   const Access& access, T* alpha_sums, T* beta_sums) {
  using V = at::vec::Vectorized<T>;
  const auto channel_at = columns.from(unit.column);
  for (int64_t row = unit.row_begin; row < unit.row_end; ++row) {
    const int64_t offset = row * tiles.columns + unit.column;
    backward_span(grad_input + offset, grad_output + offset, input + offset,
                  tiles.row_size(unit, row), access,
                  [&](const V& g, const V& x, int64_t i) MPELU_ALWAYS_INLINE {
                    math::Sums<V> sums{V::loadu(alpha_sums + i), V::loadu(beta_sums + i)};
                    const V grad = math::backward(g, x, channel_at(i), sums);
                    sums.alpha.store(alpha_sums + i);
                    sums.beta.store(beta_sums + i);
                    return grad;
                  });
  }
}

template <typename scalar_t>
void backward_columns(scalar_t* grad_input, const ChannelSums& sums, const scalar_t* grad_output,
                      const scalar_t* input, const Parameter& alpha, const Parameter& beta,
                      const Layout& layout) {
  using T = at::opmath_type<scalar_t>;
  const Tiles tiles(layout);
  const auto columns = by_column<scalar_t>(make_lanes<T>(alpha, beta, layout.channels), tiles);
  const auto access = tiles.access(grad_input, input);
  // [tiles, alpha and beta, columns of a tile and room for a pack]
  const int64_t width = std::min(tiles.columns, kTileColumns) + Pack<scalar_t>::kSize;
  std::vector<T> partial(tiles.count * 2 * width);
  parallel_units(tiles.count, tiles.elements_per_unit(), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      T* const place = partial.data() + i * 2 * width;
      backward_tile(grad_input, grad_output, input, tiles, tiles[i], columns, access, place,
                    place + width);
    }
  });
  TotalSums by_column_sums(tiles.columns);
  for (int64_t i = 0; i < tiles.count; ++i) {
    const auto unit = tiles[i];
    const T* const place = partial.data() + i * 2 * width;
    for (int64_t column = 0; column < unit.size; ++column) {
      auto& total = by_column_sums[unit.column + column];
      total.alpha.add(static_cast<double>(place[column]));
      total.beta.add(static_cast<double>(place[width + column]));
    }
  }
  TotalSums totals(layout.channels);
  for_each_column(tiles, [&](int64_t column, int64_t channel) {
    totals[channel].alpha.add(by_column_sums[column].alpha.value());
    totals[channel].beta.add(by_column_sums[column].beta.value());
  });
  finish<T>(sums, totals, alpha, beta);
}

void mpelu_kernel(const at::TensorBase& output, const at::TensorBase& input, const Parameter& alpha,
                  const Parameter& beta, const Layout& layout) {
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, input.scalar_type(), "mpelu_cpu", [&] {
    const auto run =
        has_long_rows<scalar_t>(layout) ? forward_rows<scalar_t> : forward_columns<scalar_t>;
    run(output.data_ptr<scalar_t>(), input.const_data_ptr<scalar_t>(), alpha, beta, layout);
  });
}

void mpelu_backward_kernel(const at::TensorBase& grad_input, const ChannelSums& sums,
                           const at::TensorBase& grad_output, const at::TensorBase& input,
                           const Parameter& alpha, const Parameter& beta, const Layout& layout) {
  AT_DISPATCH_FLOATING_TYPES_AND2(
      at::kBFloat16, at::kHalf, input.scalar_type(), "mpelu_backward_cpu", [&] {
        const auto run =
            has_long_rows<scalar_t>(layout) ? backward_rows<scalar_t> : backward_columns<scalar_t>;
        run(grad_input.data_ptr<scalar_t>(), sums, grad_output.const_data_ptr<scalar_t>(),
            input.const_data_ptr<scalar_t>(), alpha, beta, layout);
      });
}

}  // namespace
}  // namespace mpelu::cpu

namespace at::native {

ALSO_REGISTER_AVX512_DISPATCH(mpelu_stub, &mpelu::cpu::mpelu_kernel)
ALSO_REGISTER_AVX512_DISPATCH(mpelu_backward_stub, &mpelu::cpu::mpelu_backward_kernel)

}  // namespace at::native
