#include <ATen/Dispatch.h>

#include <vector>

#include "ops/cpu/kernels/partition.h"
#include "ops/cpu/kernels/span.h"
#include "ops/cpu/kernels/stubs.h"

namespace mpelu::cpu {
namespace {

/// Rows of at least this many vectors are worth their own constants.
constexpr int64_t kRowVectors = 2;

template <typename scalar_t>
bool has_long_rows(const Layout& layout) {
  return layout.channels == 1 || layout.inner >= kRowVectors * Pack<scalar_t>::kSize;
}

/// alpha or beta of every column, with a pack of room at the end.
template <typename scalar_t>
std::vector<at::opmath_type<scalar_t>> by_column(const Parameter& parameter, const Tiles& tiles) {
  using T = at::opmath_type<scalar_t>;
  std::vector<T> values(tiles.columns + Pack<scalar_t>::kSize);
  int64_t column = 0;
  for (int64_t c = 0; c < tiles.layout.channels; ++c) {
    for (int64_t i = 0; i < tiles.layout.inner; ++i) {
      values[column++] = parameter.at<T>(c);
    }
  }
  for (; column < tiles.columns; ++column) {
    values[column] = values[column - tiles.period];
  }
  return values;
}

template <typename scalar_t>
void forward_rows(scalar_t* output, const scalar_t* input, const Parameter& alpha,
                  const Parameter& beta, const Layout& layout) {
  using T = at::opmath_type<scalar_t>;
  const Segments segments(layout);
  parallel_units(segments.count, segments.elements_per_unit(), [&](int64_t begin, int64_t end) {
    for (int64_t unit = begin; unit < end; ++unit) {
      const auto [channel, offset, size] = segments[unit];
      forward_span(output + offset, input + offset, size, Uniform<T>{alpha.at<T>(channel)},
                   Uniform<T>{beta.at<T>(channel)});
    }
  });
}

template <typename scalar_t>
void forward_columns(scalar_t* output, const scalar_t* input, const Parameter& alpha,
                     const Parameter& beta, const Layout& layout) {
  using T = at::opmath_type<scalar_t>;
  const Tiles tiles(layout);
  const auto alphas = by_column<scalar_t>(alpha, tiles);
  const auto betas = by_column<scalar_t>(beta, tiles);
  parallel_units(tiles.across * tiles.down, tiles.elements_per_unit(),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t i = begin; i < end; ++i) {
                     const auto unit = tiles[i];
                     for (int64_t row = unit.row_begin; row < unit.row_end; ++row) {
                       const int64_t offset = row * tiles.columns + unit.column;
                       forward_span(output + offset, input + offset, tiles.row_size(unit, row),
                                    Varying<T>{alphas.data() + unit.column},
                                    Varying<T>{betas.data() + unit.column});
                     }
                   }
                 });
}

/// math::backward with a span's parameters.
template <typename ParameterAt>
struct MpeluGradient {
  ParameterAt alpha;
  ParameterAt beta;

  template <typename V>
  math::Gradient<V> operator()(const V& grad_output, const V& x, int64_t i) const {
    return math::backward(grad_output, x, alpha(i), beta(i));
  }
};

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

template <typename scalar_t>
void backward_rows(scalar_t* grad_input, const ChannelSums& sums, const scalar_t* grad_output,
                   const scalar_t* input, const Parameter& alpha, const Parameter& beta,
                   const Layout& layout) {
  using T = at::opmath_type<scalar_t>;
  const Segments segments(layout);
  std::vector<double> alphas(segments.count);  // [outer, C, segments of a row]
  std::vector<double> betas(segments.count);
  parallel_units(segments.count, segments.elements_per_unit(), [&](int64_t begin, int64_t end) {
    for (int64_t unit = begin; unit < end; ++unit) {
      const auto [channel, offset, size] = segments[unit];
      SpanSums<T> span;
      backward_span(grad_input + offset, grad_output + offset, input + offset, size,
                    MpeluGradient<Uniform<T>>{{alpha.at<T>(channel)}, {beta.at<T>(channel)}}, span);
      alphas[unit] = lane_sum(span.alpha);
      betas[unit] = lane_sum(span.beta);
    }
  });
  for (int64_t unit = 0; unit < segments.count; ++unit) {
    const int64_t channel = (unit / segments.per_row) % layout.channels;
    sums.alpha[channel] += alphas[unit];
    sums.beta[channel] += betas[unit];
  }
}

template <typename scalar_t>
void backward_columns(scalar_t* grad_input, const ChannelSums& sums, const scalar_t* grad_output,
                      const scalar_t* input, const Parameter& alpha, const Parameter& beta,
                      const Layout& layout) {
  using T = at::opmath_type<scalar_t>;
  const Tiles tiles(layout);
  const auto alphas = by_column<scalar_t>(alpha, tiles);
  const auto betas = by_column<scalar_t>(beta, tiles);
  const int64_t count = tiles.across * tiles.down;
  std::vector<T> partial(count * 2 * kTileColumns);  // [tiles, alpha and beta, columns of a tile]
  parallel_units(count, tiles.elements_per_unit(), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto unit = tiles[i];
      T* const place = partial.data() + i * 2 * kTileColumns;
      ColumnSums<T> columns{place, place + kTileColumns};
      const MpeluGradient<Varying<T>> gradient{{alphas.data() + unit.column},
                                               {betas.data() + unit.column}};
      for (int64_t row = unit.row_begin; row < unit.row_end; ++row) {
        const int64_t offset = row * tiles.columns + unit.column;
        backward_span(grad_input + offset, grad_output + offset, input + offset,
                      tiles.row_size(unit, row), gradient, columns);
      }
    }
  });
  for (int64_t i = 0; i < count; ++i) {
    const auto unit = tiles[i];
    const T* const place = partial.data() + i * 2 * kTileColumns;
    for (int64_t column = 0; column < unit.size; ++column) {
      const int64_t channel = tiles.channel(unit.column + column);
      sums.alpha[channel] += static_cast<double>(place[column]);
      sums.beta[channel] += static_cast<double>(place[kTileColumns + column]);
    }
  }
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
