#pragma once

#include "math/mpelu.h"

namespace mpelu::math {

// f(u) of the batch normalised u = (x - mean) / sqrt(var + eps) * weight + bias.

/// One channel's numbers as the formulas use them: u = x * scale + shift. For scalars;
/// batch_norm_lanes.h has another for SIMD vectors, where v is a line of its own.
template <typename V>
struct FoldedBatchNorm {
  V scale;
  V shift;
  Channel<V> activation;

  MPELU_HOST_DEVICE V u(V x) const { return Real<V>::multiply_add(x, scale, shift); }

  /// beta u / ln 2, so that e^(beta u) = 2^v takes fewer multiplications: u has been rounded
  /// itself. Without a number more for each channel: a device has few registers.
  MPELU_HOST_DEVICE V v(V /*x*/, V u) const { return activation.rate.binary(u); }
};

/// The same of x - mean. Where the mean is large, x * scale and mean * scale are rounded by more
/// than may be left of their difference. Evaluation, where torch's batch norm folds it too, goes
/// without.
template <typename V>
struct BatchNorm {
  V mean;
  FoldedBatchNorm<V> centered;

  MPELU_HOST_DEVICE typename Real<V>::Mask grows() const { return centered.activation.grows(); }
};

/// A channel's sums for the gradients of its parameters, without the factors that all of its
/// elements have in common.
template <typename V>
struct BatchNormSums {
  Sums<V> activation;
  V grad;
  V grad_x;
};

/// Of some elements: how many they are, their mean, and the sum of their squared distances from it.
struct Moments {
  double count;
  double mean;
  double squares;
};

/// Those of count elements, from the sums of their differences to a center and of the squares of
/// these: about as exact as the sums where the center is one of the elements and these are few. One
/// that lies far from the others makes the squares large by itself.
MPELU_HOST_DEVICE Moments moments_about(double center, double count, double sum, double squares) {
  const double offset = sum / count;
  return {count, center + offset, Real<double>::at_least(squares - sum * offset, 0.0)};
}

/// The moments of both: Chan, Golub and LeVeque 1983, "Algorithms for computing the sample
/// variance".
MPELU_HOST_DEVICE Moments together(const Moments& a, const Moments& b) {
  if (b.count == 0) {
    return a;
  }
  const double count = a.count + b.count;
  const double distance = b.mean - a.mean;
  const double share = b.count / count;
  return {count, a.mean + distance * share,
          a.squares + b.squares + distance * distance * (a.count * share)};
}

/// A running statistic after a batch that has this one.
MPELU_HOST_DEVICE double moved(double running, double batch, double momentum) {
  return (1 - momentum) * running + momentum * batch;
}

template <ParameterRange kRange = ParameterRange::kAny, Precision kPrecision = Precision::kRounded,
          typename V>
MPELU_HOST_DEVICE V forward(V x, const FoldedBatchNorm<V>& channel) {
  static_assert(kPrecision == Precision::kRounded);
  const V u = channel.u(x);
  return forward<kRange, kPrecision>(u, channel.activation,
                                     [&](PowerOfTwo<V>& power, V& /*lost*/) MPELU_ALWAYS_INLINE {
                                       return binary_decay(channel.v(x, u), power);
                                     });
}

template <ParameterRange kRange = ParameterRange::kAny, Precision kPrecision = Precision::kRounded,
          typename V>
MPELU_HOST_DEVICE V forward(V x, const BatchNorm<V>& channel) {
  return forward<kRange, kPrecision>(x - channel.mean, channel.centered);
}

/// The gradient with respect to u. Adds to the sums: to those of the activation, that gradient (for
/// bias and mean), and its product with x - mean (for weight and variance).
template <ParameterRange kRange = ParameterRange::kAny, typename V>
MPELU_HOST_DEVICE V backward(V grad_output, V x, const BatchNorm<V>& channel,
                             BatchNormSums<V>& sums) {
  using R = Real<V>;
  const V centered = x - channel.mean;
  const V u = channel.centered.u(centered);
  const V grad = backward<kRange>(
      grad_output, u, channel.centered.activation,
      [&](PowerOfTwo<V>& power)
          MPELU_ALWAYS_INLINE { return binary_decay(channel.centered.v(centered, u), power); },
      sums.activation);
  sums.grad = sums.grad + grad;
  sums.grad_x = R::multiply_add(grad, centered, sums.grad_x);
  return grad;
}

/// One channel's numbers as the gradient with respect to x needs them.
template <typename V>
struct InputGradient {
  V mean;
  V scale;
  /// The means over the channel of what went to its sums, grad and grad_x / (var + eps), times
  /// -scale.
  V offset;
  V slope;
};

/// The gradient with respect to x, through the statistics too, from that with respect to u.
template <typename V>
MPELU_HOST_DEVICE V input_gradient(V grad, V x, const InputGradient<V>& channel) {
  using R = Real<V>;
  return R::multiply_add(grad, channel.scale,
                         R::multiply_add(x - channel.mean, channel.slope, channel.offset));
}

}  // namespace mpelu::math
