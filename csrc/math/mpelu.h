#pragma once

#include <type_traits>

#include "math/expm1.h"

namespace mpelu::math {

// The formulas of the project, for V = float or double (host and device) and Vectorized of them:
//
//   f(x) = x                        x > 0
//   f(x) = alpha * expm1(beta * x)  x <= 0
//
// SPELU is beta = 1, ELU is beta = 1 with a fixed alpha. Zero belongs to the lower branch, as in
// Caffe's layers, which only the gradient can tell.

/// Which parameters a formula is for.
enum class ParameterRange {
  kAny,       // by a choice between the two below
  kGrowing,   // those of Channel::grows(), by a formula that would do for any
  kDecaying,  // the others, by one of fewer instructions
};

template <ParameterRange kRange>
using RangeConstant = std::integral_constant<ParameterRange, kRange>;

/// Whether the rounding errors of beta * x and of expm1 are compensated. That is not worth it where
/// x has been rounded itself or the result is stored in a half type.
enum class Precision { kFull, kRounded };

/// For results that are computed in T and stored as scalar_t.
template <typename scalar_t, typename T>
constexpr Precision kPrecisionOf =
    std::is_same_v<scalar_t, T> ? Precision::kFull : Precision::kRounded;

/// The parameters of one channel as the formulas use them. RateOfV is how beta is given.
template <typename V, typename RateOfV = Rate<V>>
struct Channel {
  V alpha;
  RateOfV rate;

  /// Whether e^(beta x) is unbounded for x < 0, a parameter is NaN, or alpha infinite.
  MPELU_HOST_DEVICE typename Real<V>::Mask grows() const {
    return Real<V>::negative(rate.beta + (alpha - alpha));
  }
};

/// e^(beta x) = 2^k (1 + p) for x <= 0 and parameters that decay. Returns p and, in full precision,
/// what its rounding lost.
template <Precision kPrecision, typename V, typename RateOfV>
MPELU_HOST_DEVICE V decay(V x, const RateOfV& rate, PowerOfTwo<V>& power, V& lost) {
  using R = Real<V>;
  V error;
  V r;
  const V h = decay(rate.template times</*kGrows=*/false>(x, error), power, r);
  if constexpr (kPrecision == Precision::kRounded) {
    return R::multiply_add(r * r, h, r);
  } else {
    const V tail = R::multiply_add(r * r, h, error);
    const V p = r + tail;
    lost = (r - p) + tail;
    return p;
  }
}

/// f(x), with decay(power, lost) where the parameters decay. A zero x keeps its sign. With
/// alpha = 0 it is ReLU bit for bit: +0, never -0, for x < 0.
template <ParameterRange kRange, Precision kPrecision, typename V, typename RateOfV, typename Decay>
MPELU_HOST_DEVICE V forward(V x, const Channel<V, RateOfV>& channel, const Decay& decay) {
  using R = Real<V>;
  const auto is_lower = R::negative(x);
  if constexpr (kRange == ParameterRange::kAny) {
    const auto grows = channel.grows();
    const V y = forward<ParameterRange::kDecaying, kPrecision>(x, channel, decay);
    return R::any(grows)
               ? R::select(grows, forward<ParameterRange::kGrowing, kPrecision>(x, channel, decay),
                           y)
               : y;
  } else if constexpr (kRange == ParameterRange::kGrowing) {
    const auto [m, e, lost, is_huge] = exponential<Overflow::kUnits>(x, channel.rate);
    const V zero(typename R::Scalar(0));
    const auto is_finite = R::equal(channel.alpha - channel.alpha, zero);
    // The zero added is what keeps -0 from an alpha of 0.
    const V rest = R::select(is_finite, R::multiply_add(channel.alpha, lost, zero), zero);
    const V y = R::multiply_add(channel.alpha, m, rest);
    const V unit(ExpConstants<typename R::Scalar>::kLargestPower);
    return R::select(is_lower, R::select(is_huge, y * unit, y), x);
  } else {
    // alpha (2^k (1 + p) - 1) is rounded once less as 2^k alpha p + (2^k alpha - alpha).
    PowerOfTwo<V> power;
    V lost;
    const V p = decay(power, lost);
    const V factor = R::scaled(channel.alpha, power);
    SumWhere<V> y(is_lower, factor - channel.alpha, x);
    if constexpr (kPrecision == Precision::kFull) {
      y.add_product(factor, lost);
    }
    y.add_product(factor, p);
    return y.value();
  }
}

/// f(x).
template <ParameterRange kRange = ParameterRange::kAny, Precision kPrecision = Precision::kFull,
          typename V, typename RateOfV>
MPELU_HOST_DEVICE V forward(V x, const Channel<V, RateOfV>& channel) {
  return forward<kRange, kPrecision>(x, channel,
                                     [&](PowerOfTwo<V>& power, V& lost) MPELU_ALWAYS_INLINE {
                                       return decay<kPrecision>(x, channel.rate, power, lost);
                                     });
}

/// A channel's sums for the gradients of its parameters, without the factors that all of its
/// elements have in common.
template <typename V>
struct Sums {
  V alpha;
  V beta;
};

/// m = expm1(beta x) and e = exp(beta x) as the gradients need them, with decay(power) where the
/// parameters decay: the rounding error of beta x is carried along only where e^(beta x) grows.
template <ParameterRange kRange, typename V, typename RateOfV, typename Decay>
MPELU_HOST_DEVICE void exponentials(V x, const Channel<V, RateOfV>& channel, const Decay& decay,
                                    V& m, V& e) {
  using R = Real<V>;
  if constexpr (kRange == ParameterRange::kAny) {
    const auto grows = channel.grows();
    exponentials<ParameterRange::kDecaying>(x, channel, decay, m, e);
    if (R::any(grows)) {
      V growing_m;
      V growing_e;
      exponentials<ParameterRange::kGrowing>(x, channel, decay, growing_m, growing_e);
      m = R::select(grows, growing_m, m);
      e = R::select(grows, growing_e, e);
    }
  } else if constexpr (kRange == ParameterRange::kGrowing) {
    const auto exponential = math::exponential<Overflow::kInfinity>(x, channel.rate);
    m = exponential.expm1;
    e = exponential.exp;
  } else {
    PowerOfTwo<V> power;
    const V rest = R::scaled(decay(power), power);
    m = rest + (power.value - V(typename R::Scalar(1)));
    e = rest + power.value;
  }
}

/// The gradient of f at x with respect to x, times grad_output: for x <= 0, with m = expm1(beta x)
/// and e = exp(beta x), alpha beta e; for x > 0, 1. Where x <= 0, grad_output * m goes to alpha's
/// sum and grad_output * e * x to beta's.
template <ParameterRange kRange, typename V, typename RateOfV, typename Decay>
MPELU_HOST_DEVICE V backward(V grad_output, V x, const Channel<V, RateOfV>& channel,
                             const Decay& decay, Sums<V>& sums) {
  using R = Real<V>;
  V m;
  V e;
  exponentials<kRange>(x, channel, decay, m, e);
  const auto is_lower = R::not_positive(x);
  const V scaled = grad_output * e;
  sums.alpha = R::multiply_add_where(is_lower, grad_output, m, sums.alpha);
  sums.beta = R::multiply_add_where(is_lower, scaled, x, sums.beta);
  return R::select(is_lower, scaled * (channel.alpha * channel.rate.beta), grad_output);
}

template <ParameterRange kRange = ParameterRange::kAny, typename V, typename RateOfV>
MPELU_HOST_DEVICE V backward(V grad_output, V x, const Channel<V, RateOfV>& channel,
                             Sums<V>& sums) {
  return backward<kRange>(
      grad_output, x, channel,
      [&](PowerOfTwo<V>& power)
          MPELU_ALWAYS_INLINE { return binary_decay(channel.rate.binary(x), power); },
      sums);
}

/// The gradients of alpha and beta from a channel's complete sums. A sum of zero gives a gradient
/// of zero even where alpha is infinite or NaN.
template <typename T, typename S>
MPELU_HOST_DEVICE Sums<S> parameter_gradients(const Sums<S>& sums, T alpha) {
  return {sums.alpha, sums.beta == S(0) ? S(0) : sums.beta * S(alpha)};
}

/// The gradient of ELU (beta = 1, alpha >= 0) with respect to its input, from the output y: for
/// y <= 0, alpha e^x = y + alpha.
template <typename V>
MPELU_HOST_DEVICE V elu_backward_from_output(V grad_output, V y, V alpha) {
  using R = Real<V>;
  return R::select(R::not_positive(y), grad_output * (y + alpha), grad_output);
}

}  // namespace mpelu::math
