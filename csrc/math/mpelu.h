#pragma once

#include "math/expm1.h"

namespace mpelu::math {

// The formulas of the project, for V = float or double (host and device) and Vectorized of them:
//
//   f(x) = x                        x > 0
//   f(x) = alpha * expm1(beta * x)  x <= 0
//
// SPELU is beta = 1, ELU is beta = 1 with a fixed alpha. Zero belongs to the lower branch, as in
// Caffe's layers, which only the gradient can tell.

/// The parameters of one channel as the formulas use them.
template <typename V>
struct Channel {
  V alpha;
  Rate<V> rate;
};

/// f(x). A zero of x keeps its sign; alpha = 0 gives the bits of ReLU: +0, never -0, below zero.
template <BetaRange Range = BetaRange::kAny, typename V>
MPELU_HOST_DEVICE V forward(V x, const Channel<V>& channel) {
  using R = Real<V>;
  const auto [m, e, lacks_one] = exponential<Range>(x, channel.rate);
  const V zero(typename R::Scalar(0));
  V rest = zero;
  if constexpr (Range == BetaRange::kAny) {
    rest = R::select(lacks_one, zero - channel.alpha, zero);
  }
  return R::select(R::non_negative(x), x, R::multiply_add(channel.alpha, m, rest));
}

/// What elements add to the gradients of their channel's parameters, but for constant factors.
template <typename V>
struct Sums {
  V alpha;
  V beta;
};

/// The gradient of f at x with respect to x, times grad_output: for x <= 0, with m = expm1(beta x)
/// and e = exp(beta x), alpha beta e; for x > 0, 1. Where x <= 0, grad_output * m goes to alpha's
/// sum and grad_output * e * x to beta's.
template <BetaRange Range = BetaRange::kAny, typename V>
MPELU_HOST_DEVICE V backward(V grad_output, V x, const Channel<V>& channel, Sums<V>& sums) {
  using R = Real<V>;
  const auto [m, e, lacks_one] = exponential<Range>(x, channel.rate);
  const auto is_lower = R::not_positive(x);
  const V scaled = grad_output * e;
  sums.alpha = R::multiply_add_where(is_lower, grad_output, m, sums.alpha);
  sums.beta = R::multiply_add_where(is_lower, scaled, x, sums.beta);
  return R::select(is_lower, scaled * (channel.alpha * channel.rate.beta), grad_output);
}

/// The gradients of alpha and beta from all of a channel's sums. No sum, no gradient, whatever
/// alpha is.
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
