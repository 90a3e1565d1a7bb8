#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

#include "math/batch_norm.h"
#include "ops/cpu/kernels/span.h"
#include "ops/cpu/kernels/stubs.h"

// What the passes of a batch norm need of a channel.

namespace mpelu::math {

/// v is rounded no oftener than u, and does not wait for it.
template <typename T>
struct FoldedBatchNorm<at::vec::Vectorized<T>> {
  using V = at::vec::Vectorized<T>;

  V scale;
  V shift;
  V binary_scale;
  V binary_shift;
  Channel<V> activation;

  V u(const V& x) const { return Real<V>::multiply_add(x, scale, shift); }
  V v(const V& x, const V& /*u*/) const {
    return Real<V>::multiply_add(x, binary_scale, binary_shift);
  }
};

}  // namespace mpelu::math

namespace mpelu::cpu {
// Another type or function in each build of this file, as Vectorized itself is.
inline namespace CPU_CAPABILITY {

/// A number about which a channel's elements are summed up.
template <typename T>
struct CenterLane {
  using Scalar = T;
  using V = at::vec::Vectorized<T>;

  std::array<T, 1> fields() const { return {center}; }
  static V channel(const std::array<V, 1>& fields) { return fields[0]; }

  T center;
};

template <typename T>
struct FoldedBatchNormLane {
  using Scalar = T;
  using V = at::vec::Vectorized<T>;

  std::array<T, 7> fields() const {
    const auto& [alpha, beta, lowest] = activation;
    return {scale, shift, binary_scale, binary_shift, alpha, beta, lowest};
  }
  bool grows() const { return activation.grows(); }
  static math::FoldedBatchNorm<V> channel(const std::array<V, 7>& fields) {
    return {fields[0], fields[1], fields[2], fields[3], {fields[4], {fields[5], fields[6]}}};
  }

  T scale;
  T shift;
  T binary_scale;
  T binary_shift;
  math::Lane<T> activation;
};

template <typename T>
struct BatchNormLane {
  using Scalar = T;
  using V = at::vec::Vectorized<T>;

  std::array<T, 8> fields() const {
    std::array<T, 8> all{mean};
    std::ranges::copy(centered.fields(), all.begin() + 1);
    return all;
  }
  bool grows() const { return centered.grows(); }
  static math::BatchNorm<V> channel(const std::array<V, 8>& fields) {
    std::array<V, 7> of_centered;
    std::copy_n(fields.begin() + 1, 7, of_centered.begin());
    return {fields[0], FoldedBatchNormLane<T>::channel(of_centered)};
  }

  T mean;
  FoldedBatchNormLane<T> centered;
};

/// The nearest finite number.
template <typename T>
T finite(double number) {
  using Limits = std::numeric_limits<T>;
  return static_cast<T>(std::clamp<double>(number, Limits::lowest(), Limits::max()));
}

/// A channel's numbers for x - center. A scale is rounded first, and what that does at the mean
/// made good by the shift.
template <typename T>
FoldedBatchNormLane<T> make_folded_lane(const BatchNormParameters& parameters, int64_t channel,
                                        double center) {
  const double scale = parameters.invstd[channel] * parameters.weight[channel];
  const double bias = parameters.bias[channel];
  const double mean = parameters.mean[channel] - center;
  const double doublings = parameters.beta[channel] * math::ExpConstants<double>::kLog2E;
  const auto rounded_scale = static_cast<T>(scale);
  const T binary_scale = finite<T>(scale * doublings);
  return {rounded_scale,
          static_cast<T>(bias - mean * rounded_scale),
          binary_scale,
          finite<T>(bias * doublings - mean * binary_scale),
          {static_cast<T>(parameters.alpha[channel]), static_cast<T>(parameters.beta[channel])}};
}

/// The parameters of all channels, and for u as the input's own line.
template <typename T>
std::vector<FoldedBatchNormLane<T>> make_folded_lanes(const BatchNormParameters& parameters,
                                                      int64_t channels) {
  return lanes_of_channels(
      channels, [&](int64_t c) { return make_folded_lane<T>(parameters, c, /*center=*/0); });
}

/// Those of `channels` channels from the first on.
template <typename T>
std::vector<BatchNormLane<T>> make_lanes(const BatchNormParameters& parameters, int64_t first,
                                         int64_t channels) {
  return lanes_of_channels(channels, [&](int64_t c) {
    const auto mean = static_cast<T>(parameters.mean[first + c]);
    return BatchNormLane<T>{mean, make_folded_lane<T>(parameters, first + c, mean)};
  });
}

/// What the second pass of the backward needs of a channel.
template <typename T>
struct InputGradientLane {
  using Scalar = T;
  using V = at::vec::Vectorized<T>;

  std::array<T, 4> fields() const { return {mean, scale, offset, slope}; }
  static math::InputGradient<V> channel(const std::array<V, 4>& fields) {
    return {fields[0], fields[1], fields[2], fields[3]};
  }

  T mean;
  T scale;
  T offset;
  T slope;
};

/// What a pass of the backward multiplies by of a channel's scale.
enum class Scaling { kNone, kShrink, kAll };

/// The first pass leaves some of it to the second. In the half types what it stores overflows no
/// sooner than the gradient of its output or that of the input: it is made smaller, and not larger.
template <typename scalar_t>
constexpr Scaling kFirstScaling =
    std::is_same_v<scalar_t, at::opmath_type<scalar_t>> ? Scaling::kNone : Scaling::kShrink;

template <typename scalar_t, typename T>
T scale_of_second(T scale) {
  return kFirstScaling<scalar_t> == Scaling::kNone ? scale : std::max(std::abs(scale), T(1));
}

template <Scaling kScaling, typename V>
MPELU_ALWAYS_INLINE inline V scaled(const V& grad, const V& scale) {
  if constexpr (kScaling == Scaling::kNone) {
    return grad;
  } else if constexpr (kScaling == Scaling::kShrink) {
    return at::vec::clamp(scale, V(-1), V(1)) * grad;
  } else {
    return scale * grad;
  }
}

/// What two passes at once need, each of a channel of its own.
template <typename First, typename Second>
struct LanePair {
  using Scalar = typename First::Scalar;
  using V = typename First::V;

  static constexpr size_t kOfFirst = kFields<First>;
  static constexpr size_t kOfSecond = kFields<Second>;

  std::array<Scalar, kOfFirst + kOfSecond> fields() const {
    std::array<Scalar, kOfFirst + kOfSecond> both;
    std::ranges::copy(second.fields(), std::ranges::copy(first.fields(), both.begin()).out);
    return both;
  }
  static auto channel(const std::array<V, kOfFirst + kOfSecond>& fields) {
    std::array<V, kOfFirst> of_first;
    std::array<V, kOfSecond> of_second;
    std::copy_n(fields.begin(), kOfFirst, of_first.begin());
    std::copy_n(fields.begin() + kOfFirst, kOfSecond, of_second.begin());
    return std::pair(First::channel(of_first), Second::channel(of_second));
  }

  First first;
  Second second;
};

template <typename First, typename Second>
std::vector<LanePair<First, Second>> pair_up(const std::vector<First>& first,
                                             const std::vector<Second>& second) {
  return lanes_of_channels(static_cast<int64_t>(first.size()),
                           [&](int64_t c) { return LanePair<First, Second>{first[c], second[c]}; });
}

}  // namespace CPU_CAPABILITY
}  // namespace mpelu::cpu
