#pragma once

#include "math/mpelu.h"

namespace mpelu::math {

// f(u) of the batch normalised u = (x - mean) / sqrt(var + eps) * weight + bias.

/// One channel's numbers as the formulas use them.
template <typename V>
struct BatchNorm {
  V mean;
  /// weight / sqrt(var + eps)
  V scale;
  V bias;
  Channel<V> activation;

  MPELU_HOST_DEVICE typename Real<V>::Mask grows() const { return activation.grows(); }
};

/// The same where only the output is asked for and the statistics are not of the input:
/// u = x * scale + shift, where shift = bias - mean * scale, and beta u / ln 2 likewise.
template <typename V>
struct FoldedBatchNorm {
  V scale;
  V shift;
  V binary_scale;
  V binary_shift;
  Channel<V> activation;
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

// In training the mean is subtracted first: where it is large, x * scale and mean * scale are
// rounded by more than may be left of their difference. Folded, as torch's batch norm is on the
// CPU, it takes an instruction less, and the exponential is one of 2 without being rounded twice.

template <ParameterRange kRange = ParameterRange::kAny, Precision kPrecision = Precision::kRounded,
          typename V>
MPELU_HOST_DEVICE V forward(V x, const BatchNorm<V>& channel) {
  const V u = Real<V>::multiply_add(x - channel.mean, channel.scale, channel.bias);
  return forward<kRange, kPrecision>(u, channel.activation);
}

template <ParameterRange kRange = ParameterRange::kAny, Precision kPrecision = Precision::kRounded,
          typename V>
MPELU_HOST_DEVICE V forward(V x, const FoldedBatchNorm<V>& channel) {
  using R = Real<V>;
  const V u = R::multiply_add(x, channel.scale, channel.shift);
  if constexpr (kRange == ParameterRange::kAny) {
    const auto grows = channel.activation.grows();
    const V y = forward<ParameterRange::kDecaying, kPrecision>(x, channel);
    return R::any(grows)
               ? R::select(grows, forward<ParameterRange::kGrowing>(u, channel.activation), y)
               : y;
  } else {
    static_assert(kRange == ParameterRange::kDecaying);
    PowerOfTwo<V> power;
    const V v = R::multiply_add(x, channel.binary_scale, channel.binary_shift);
    const V p = binary_decay(v, power);
    const V alpha = channel.activation.alpha;
    const V factor = R::scaled(alpha, power);
    SumWhere<V> y(R::negative(u), factor - alpha, u);
    y.add_product(factor, p);
    return y.value();
  }
}

/// The gradient with respect to u. Adds to the sums: to those of the activation, that gradient (for
/// bias and mean), and its product with x - mean (for weight and variance).
template <ParameterRange kRange = ParameterRange::kAny, typename V>
MPELU_HOST_DEVICE V backward(V grad_output, V x, const BatchNorm<V>& channel,
                             BatchNormSums<V>& sums) {
  using R = Real<V>;
  const V centered = x - channel.mean;
  const V u = R::multiply_add(centered, channel.scale, channel.bias);
  const V grad = backward<kRange>(grad_output, u, channel.activation, sums.activation);
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
