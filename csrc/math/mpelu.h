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

/// f(x). A zero of x keeps its sign; alpha = 0 gives the bits of ReLU (+0, never -0, below zero).
template <typename V>
MPELU_HOST_DEVICE V forward(V x, V alpha, V beta) {
  using R = Real<V>;
  const V m = exponential_of_product(beta, x).expm1;
  return R::select(R::non_negative(x), x, R::multiply_add(alpha, m, V(typename R::Scalar(0))));
}

/// One element's part in the gradients.
template <typename V>
struct Gradient {
  V input;
  V alpha;
  V beta;
};

/// The gradients of f at x, times grad_output: for x <= 0, with m = expm1(beta x) and e = exp(beta
/// x), alpha beta e for the input, m for alpha and alpha x e for beta; for x > 0, 1, 0 and 0.
template <typename V>
MPELU_HOST_DEVICE Gradient<V> backward(V grad_output, V x, V alpha, V beta) {
  using R = Real<V>;
  const V zero(typename R::Scalar(0));
  const auto [m, e] = exponential_of_product(beta, x);
  const auto positive = R::positive(x);
  const V scaled = grad_output * (alpha * e);
  return {R::select(positive, grad_output, scaled * beta),
          R::select(positive, zero, grad_output * m), R::select(positive, zero, scaled * x)};
}

/// The gradient of ELU (beta = 1, alpha >= 0) with respect to its input, from the output y: for
/// y <= 0, alpha e^x = y + alpha.
template <typename V>
MPELU_HOST_DEVICE V elu_backward_from_output(V grad_output, V y, V alpha) {
  using R = Real<V>;
  return R::select(R::positive(y), grad_output, grad_output * (y + alpha));
}

}  // namespace mpelu::math
