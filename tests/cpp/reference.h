#pragma once

#include <torch/types.h>

#include <cmath>
#include <string>
#include <tuple>
#include <vector>

#include "catch.h"

/// The formulas as plain loops in float64, and what the tests of the ops have in common.
namespace reference {

/// A float64 copy of a tensor in row-major order, with the channel of each element.
struct Elements {
  Elements(const at::Tensor& input, int64_t dim)
      : tensor(input.detach().to(at::kDouble).contiguous().clone()),
        values(tensor.data_ptr<double>()) {
    if (input.dim() > 0) {
      const int64_t channel_dim = input.dim() == 1 ? 0 : at::maybe_wrap_dim(dim, input.dim());
      channels = input.size(channel_dim);
      inner = 1;
      for (int64_t d = channel_dim + 1; d < input.dim(); ++d) {
        inner *= input.size(d);
      }
    }
  }

  int64_t channel(int64_t i) const { return i / inner % channels; }

  at::Tensor tensor;
  double* values;
  int64_t channels = 1;
  int64_t inner = 1;
};

/// A parameter as one number for each channel.
inline std::vector<double> per_channel(const at::Tensor& parameter, int64_t channels) {
  const auto values = parameter.detach().to(at::kDouble).reshape(-1).expand(channels).contiguous();
  return {values.data_ptr<double>(), values.data_ptr<double>() + channels};
}

inline at::Tensor forward(const at::Tensor& input, const at::Tensor& alpha, const at::Tensor& beta,
                          int64_t dim = 1) {
  const Elements x(input, dim);
  const auto a = per_channel(alpha, x.channels);
  const auto b = per_channel(beta, x.channels);
  for (int64_t i = 0; i < x.tensor.numel(); ++i) {
    const int64_t c = x.channel(i);
    if (x.values[i] <= 0) {
      x.values[i] = a[c] * std::expm1(b[c] * x.values[i]);
    }
  }
  return x.tensor;
}

struct Gradients {
  at::Tensor input;
  at::Tensor alpha;
  at::Tensor beta;
};

inline Gradients backward(const at::Tensor& grad_output, const at::Tensor& input,
                          const at::Tensor& alpha, const at::Tensor& beta, int64_t dim = 1) {
  const Elements g(grad_output, dim);
  const Elements x(input, dim);
  const auto a = per_channel(alpha, x.channels);
  const auto b = per_channel(beta, x.channels);
  std::vector<double> grad_alpha(x.channels), grad_beta(x.channels);
  for (int64_t i = 0; i < x.tensor.numel(); ++i) {
    const int64_t c = x.channel(i);
    if (x.values[i] <= 0) {
      const double e = std::exp(b[c] * x.values[i]);
      grad_alpha[c] += g.values[i] * std::expm1(b[c] * x.values[i]);
      grad_beta[c] += g.values[i] * a[c] * x.values[i] * e;
      g.values[i] *= a[c] * b[c] * e;
    }
  }
  const auto like = [](const std::vector<double>& sums, const at::Tensor& parameter) {
    const auto tensor = torch::tensor(sums, at::kDouble);
    return parameter.numel() == 1 ? tensor.sum().reshape(parameter.sizes()) : tensor;
  };
  return {g.tensor, like(grad_alpha, alpha), like(grad_beta, beta)};
}

}  // namespace reference

/// The dtypes that the ops compute in, with the accuracy that is promised of each.
struct Precision {
  at::ScalarType dtype;
  double tolerance;
};

inline constexpr Precision kPrecisions[] = {
    {at::kDouble, 1e-14}, {at::kFloat, 1e-6}, {at::kBFloat16, 1e-2}, {at::kHalf, 1e-3}};

/// The ways in which a 4-d tensor's values may lie in memory.
struct MemoryLayout {
  const char* name;
  at::Tensor (*apply)(const at::Tensor&);
};

inline const MemoryLayout kLayouts[] = {
    {"contiguous", [](const at::Tensor& t) { return t.contiguous(); }},
    {"channels_last",
     [](const at::Tensor& t) { return t.contiguous(at::MemoryFormat::ChannelsLast); }},
    {"transposed",
     [](const at::Tensor& t) { return t.transpose(0, -1).contiguous().transpose(0, -1); }},
    {"sliced from an odd offset",
     [](const at::Tensor& t) {
       return torch::constant_pad_nd(t, {1, 2}).slice(-1, 1, 1 + t.size(-1));
     }},
    {"expanded", [](const at::Tensor& t) { return t.narrow(-1, 0, 1).expand_as(t); }},
};

/// Checks the shape, and the values up to a tolerance relative to each, or absolute below 1.
inline void check_close(const at::Tensor& actual, const at::Tensor& expected, double tolerance) {
  CATCH_REQUIRE(actual.sizes() == expected.sizes());
  CATCH_CHECK(at::allclose(actual.detach().to(at::kDouble), expected, tolerance, tolerance,
                           /*equal_nan=*/true));
}
