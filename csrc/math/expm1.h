#pragma once

#include "math/real.h"

namespace mpelu::math {

/// What the exponential needs to know of a floating point type.
template <typename T>
struct ExpConstants;

template <>
struct ExpConstants<float> {
  static constexpr int kMantissaBits = 23;
  static constexpr int kExponentBias = 127;
  // 1.5 * 2^23: adding it rounds to an integer, which is then in the low bits.
  static constexpr float kRound = 12582912.0f;
  // Below kMin 2^k is no normal number and e^z counts as 0. e^z is computed up to kMax, past its
  // overflow, and infinite above: kInfinite stands for all such z, for 2^k / 2 is infinite there.
  static constexpr float kMin = -88.0f;
  static constexpr float kMax = 89.0f;
  static constexpr float kInfinite = 89.6f;
  static constexpr float kLog2E = 1.44269504f;
  // The high part has 9 trailing zeros, so that k times it is exact for every k in use.
  static constexpr float kLn2High = 0.693359375f;
  static constexpr float kLn2Low = -2.12194440e-4f;
  // expm1(r) ~ r + r^2 h(r) on |r| <= ln(2) / 2, relative error 2^-26 (Remez); h from its highest
  // coefficient.
  static constexpr float kPolynomial[] = {0x1.6b9c66p-10f, 0x1.12254ap-7f, 0x1.5556f2p-5f,
                                          0x1.5554b4p-3f, 0x1.fffffep-2f};
};

template <>
struct ExpConstants<double> {
  static constexpr int kMantissaBits = 52;
  static constexpr int kExponentBias = 1023;
  static constexpr double kRound = 6755399441055744.0;
  static constexpr double kMin = -709.0;
  static constexpr double kMax = 710.0;
  static constexpr double kInfinite = 710.6;
  static constexpr double kLog2E = 1.4426950408889634074;
  static constexpr double kLn2High = 6.93147180369123816490e-01;
  static constexpr double kLn2Low = 1.90821492927058770002e-10;
  // As above, relative error 2^-55.
  static constexpr double kPolynomial[] = {2.504590616231698e-08,  2.762227291100729e-07,
                                           2.7557425221455715e-06, 2.4801516248159054e-05,
                                           0.00019841269709041753, 0.0013888888920575368,
                                           0.008333333333388558,   0.04166666666661985,
                                           0.16666666666666602,    0.5};
};

/// beta * x as two numbers, of which the second is what the first loses to rounding.
template <typename V>
struct Product {
  V value;
  V error;
};

/// beta with what the exponential derives from it once for many x. For scalars; vector.h has
/// another for SIMD vectors, which trades a number more for some instructions less.
template <typename V>
struct Rate {
  V beta;
  /// The results are in units of 1 / size. That is 1, but 1 / 2 for beta < 0, so that 2^k is a
  /// number for every k up to the overflow.
  V size;
  /// kRound and the bias of the exponent of `size`.
  V round;

  /// beta * x, held to where e^(beta x) has vanished or overflowed.
  MPELU_HOST_DEVICE Product<V> times(V x) const {
    using C = ExpConstants<V>;
    const V exact = beta * x;
    const V held = exact < C::kMin ? C::kMin : (exact > C::kMax ? C::kInfinite : exact);
    return {held, exact == held ? Real<V>::product_error(beta, x, exact) : V(0)};
  }
};

template <typename T>
MPELU_HOST_DEVICE Rate<T> make_rate(T beta) {
  using C = ExpConstants<T>;
  const bool grows = beta < T(0);
  return {beta, grows ? T(0.5) : T(1), C::kRound + T(C::kExponentBias - grows)};
}

/// x / rate.size, without a division.
template <typename S, typename T>
MPELU_HOST_DEVICE S unscale(S x, const Rate<T>& rate) {
  return rate.beta < T(0) ? x + x : x;
}

/// size * (e^z - 1) and size * e^z.
template <typename V>
struct Exponential {
  V expm1;
  V exp;
};

/// Horner's scheme, unrolled at compile time so that the device keeps the coefficients as
/// immediates.
template <typename V, size_t I = 1>
MPELU_HOST_DEVICE V polynomial(V r, V sum) {
  using Constants = ExpConstants<typename Real<V>::Scalar>;
  constexpr size_t kSize = sizeof(Constants::kPolynomial) / sizeof(Constants::kPolynomial[0]);
  if constexpr (I == kSize) {
    return sum;
  } else {
    constexpr auto kCoefficient = Constants::kPolynomial[I];
    return polynomial<V, I + 1>(r, Real<V>::multiply_add(sum, r, V(kCoefficient)));
  }
}

/// The exponential of beta * x for x <= 0, correct to about one unit in the last place: expm1 for
/// all such x (-1 towards z = -inf, +inf above the range, NaN for NaN), exp down to about the
/// smallest normal number, 0 below. What it gives for x > 0 is of no use. The rounding error of the
/// product is carried along: without it a result near 0 would lose half a unit, and a large one
/// (beta < 0) as many units as z is large.
///
/// With z = beta x = k ln 2 + r: expm1(z) = 2^k expm1(r) + (2^k - 1).
template <typename V>
MPELU_HOST_DEVICE Exponential<V> exponential(V x, const Rate<V>& rate) {
  using R = Real<V>;
  using C = ExpConstants<typename R::Scalar>;

  const auto [z, error] = rate.times(x);
  const V shifted = R::multiply_add(z, V(C::kLog2E), rate.round);
  const V k = shifted - rate.round;
  const V scale = R::template shift_left<C::kMantissaBits>(shifted);  // size * 2^k
  const V high = R::multiply_add(k, V(-C::kLn2High), z);
  const V low = R::multiply_add(k, V(-C::kLn2Low), error);
  const V r = high + low;

  const V h = polynomial(r, V(C::kPolynomial[0]));
  const V p = high + R::multiply_add(r * r, h, low);
  return {R::multiply_add(scale, p, scale - rate.size), R::multiply_add(scale, p, scale)};
}

}  // namespace mpelu::math
