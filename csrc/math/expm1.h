#pragma once

#include "math/real.h"

namespace mpelu::math {

/// What expm1 needs to know of a floating point type.
template <typename T>
struct ExpConstants;

template <>
struct ExpConstants<float> {
  using Int = int32_t;
  static constexpr int kMantissaBits = 23;
  static constexpr Int kExponentBias = 127;
  // 1.5 * 2^23: adding it rounds to an integer, which is then in the low bits.
  static constexpr float kRound = 12582912.0f;
  // expm1 is -1 and exp is 0 below kMin; expm1 is infinite above kMax.
  static constexpr float kMin = -87.5f;
  static constexpr float kMax = 89.0f;
  static constexpr float kLog2E = 1.44269504f;
  // The high part has 9 trailing zeros, so that k times it is exact for every k in use.
  static constexpr float kLn2High = 0.693359375f;
  static constexpr float kLn2Low = -2.12194440e-4f;
  // expm1(r) ~ r + r^2 / 2 + r^3 q(r) on |r| <= ln(2) / 2, relative error 2^-31 (Remez);
  // q from its highest coefficient.
  static constexpr float kPolynomial[] = {0x1.9fbde2p-13f, 0x1.6d40b8p-10f, 0x1.1111cap-7f,
                                          0x1.5554f2p-5f, 0x1.555554p-3f};
};

template <>
struct ExpConstants<double> {
  using Int = int64_t;
  static constexpr int kMantissaBits = 52;
  static constexpr Int kExponentBias = 1023;
  static constexpr double kRound = 6755399441055744.0;
  static constexpr double kMin = -708.5;
  static constexpr double kMax = 710.0;
  static constexpr double kLog2E = 1.4426950408889634074;
  static constexpr double kLn2High = 6.93147180369123816490e-01;
  static constexpr double kLn2Low = 1.90821492927058770002e-10;
  // As above, relative error 2^-55.
  static constexpr double kPolynomial[] = {
      2.504590616231698e-08,  2.762227291100729e-07,  2.7557425221455715e-06,
      2.4801516248159054e-05, 0.00019841269709041753, 0.0013888888920575368,
      0.008333333333388558,   0.04166666666661985,    0.16666666666666602};
};

/// e^z - 1 and e^z.
template <typename V>
struct Exponential {
  V expm1;
  V exp;
};

/// Horner's scheme, unrolled at compile time so that the device keeps the coefficients as
/// immediates.
template <typename V, size_t I = 0>
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

/// The exponential of the product beta * x, correct to about one unit in the last place: expm1 for
/// all arguments (-1 towards -inf, +inf above the range, NaN for NaN), exp down to about the
/// smallest normal number, 0 below. The product's own rounding error is carried along; without it a
/// large positive product (beta < 0) would lose as many units as it is large.
///
/// With z = k ln 2 + r: expm1(z) = 2^k expm1(r) + (2^k - 1). It is evaluated at half its size, so
/// that 2^(k-1) is a number for every k up to the overflow.
template <typename V>
MPELU_HOST_DEVICE Exponential<V> exponential_of_product(V beta, V x) {
  using R = Real<V>;
  using T = typename R::Scalar;
  using C = ExpConstants<T>;
  using Int = typename C::Int;

  const V product = beta * x;
  const V z = R::clamp(product, C::kMin, C::kMax);
  // Zero outside the range, where the product may be infinite and its error not a number.
  const V error = R::select(R::equal(z, product), R::product_error(beta, x, product), V(T(0)));

  const V shifted = R::multiply_add(z, V(C::kLog2E), V(C::kRound));
  const V k = shifted - V(C::kRound);
  const V high = R::multiply_add(k, V(-C::kLn2High), z);
  const V low = R::multiply_add(k, V(-C::kLn2Low), error);
  const V r = high + low;
  const V r_error = (high - r) + low;
  const V half_scale = R::template shift_bits<C::kMantissaBits>(
      shifted, Int((C::kExponentBias - 1) << C::kMantissaBits));

  const V q = polynomial(r, V(T(0)));
  const V tail = R::multiply_add(r * r, R::multiply_add(r, q, V(T(0.5))), r_error);
  const V p = r + tail;
  // What p lost to rounding counts where p and 2^k - 1 cancel, z just above ln(2) / 2.
  const V p_error = (r - p) + tail;
  const V sum = R::multiply_add(half_scale, p, half_scale - V(T(0.5)));
  const V half_expm1 = R::multiply_add(half_scale, p_error, sum);
  const V half_exp = R::multiply_add(half_scale, p, half_scale);
  return {half_expm1 + half_expm1, half_exp + half_exp};
}

}  // namespace mpelu::math
