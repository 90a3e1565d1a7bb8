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
  // Below kMin, 2^k is subnormal and e^z is flushed to 0; at kMax, even the product of e^z and the
  // smallest normal number has overflowed.
  static constexpr float kMin = -88.0f;
  static constexpr float kMax = 177.0f;
  // The largest power of two.
  static constexpr float kLargestPower = 0x1p127f;
  static constexpr float kLog2E = 1.44269504f;
  static constexpr float kLn2 = 0.693147181f;
  // Its high part has 9 trailing zeros, so that k times it is exact for every k in use.
  static constexpr float kLn2High = 0.693359375f;
  static constexpr float kLn2Low = -2.12194440e-4f;
  // expm1(r) ~ r + r^2 h(r) (minimax), relative error 2^-28 on |r| <= ln(2) / 2 and 2^-26 up to
  // ln(2); h from its highest coefficient.
  static constexpr float kPolynomial[] = {0x1.d7197ap-13f, 0x1.6c53dcp-10f, 0x1.10e6a2p-7f,
                                          0x1.5555acp-5f,  0x1.555574p-3f,  0.5f};
  // The same with relative error 2^-26 on |r| <= ln(2) / 2; not valid beyond.
  static constexpr float kShortPolynomial[] = {0x1.6c662p-10f, 0x1.1223fep-7f, 0x1.5555aap-5f,
                                               0x1.5554b6p-3f, 0.5f};
  // 2^f - 1 ~ f h(f) with relative error 2^-25 on |f| <= 1/2.
  static constexpr float kPowerPolynomial[] = {0x1.4308f8p-13f, 0x1.5f07b4p-10f, 0x1.3b2bap-7f,
                                               0x1.c6af6ep-5f,  0x1.ebfbdep-3f,  0x1.62e43p-1f};
};

template <>
struct ExpConstants<double> {
  static constexpr int kMantissaBits = 52;
  static constexpr int kExponentBias = 1023;
  static constexpr double kRound = 6755399441055744.0;
  static constexpr double kMin = -709.0;
  static constexpr double kMax = 1419.0;
  static constexpr double kLargestPower = 0x1p1023;
  static constexpr double kLog2E = 1.4426950408889634074;
  static constexpr double kLn2 = 6.93147180559945309417e-01;
  static constexpr double kLn2High = 6.93147180369123816490e-01;
  static constexpr double kLn2Low = 1.90821492927058770002e-10;
  // As above, with relative errors 2^-59 and 2^-57.
  static constexpr double kPolynomial[] = {
      1.8708062114340314e-10, 2.071950501436637e-09, 2.504900812396807e-08,  2.755785014132398e-07,
      2.755731341919104e-06,  2.48015867202896e-05,  0.00019841269851709442, 0.0013888888889155052,
      0.008333333333328674,   0.0416666666666662,    0.1666666666666667,     0.5};
  // As above, with relative error 2^-61.
  static constexpr double kShortPolynomial[] = {2.0875330164934457e-09,
                                                2.5108992678742513e-08,
                                                2.7557402681495106e-07,
                                                2.755724433786071e-06,
                                                2.4801587172446612e-05,
                                                0.00019841269885998488,
                                                0.0013888888888962442,
                                                0.008333333333321681,
                                                0.04166666666666651,
                                                0.16666666666666677,
                                                0.5};
  // As above, with relative error 2^-54.
  static constexpr double kPowerPolynomial[] = {
      2.5678404693417434e-11, 4.455804873395507e-10,  7.054932288724031e-09, 1.0178057169165923e-07,
      1.3215486721314112e-06, 1.5252733841378732e-05, 0.0001540353039346622, 0.001333355814640663,
      0.009618129107628437,   0.055504108664821625,   0.24022650695910072,   0.6931471805599453};
};

/// beta as the exponential uses it. For scalars; vector.h has another for SIMD vectors, which takes
/// one number more and fewer instructions.
template <typename V>
struct Rate {
  V beta;

  /// beta * x, at least kMin and, where it may grow with x < 0, at most kMax; and its rounding
  /// error. For x > 0 either may be anything, even NaN.
  template <bool kGrows>
  MPELU_HOST_DEVICE V times(V x, V& error) const {
    using R = Real<V>;
    using C = ExpConstants<V>;
    const V product = beta * x;
    const V bounded = R::at_least(product, C::kMin);
    const V held = kGrows ? R::at_most(bounded, C::kMax) : bounded;
    error = product == held ? R::product_error(beta, x, product) : V(0);
    return held;
  }

  /// beta * x / ln 2, so that e^(beta x) is a power of 2. A beta that is finite stays so.
  MPELU_HOST_DEVICE V binary(V x) const { return x * ExpConstants<V>::kLog2E * beta; }
};

/// The polynomial with these coefficients by Horner's scheme: in r or, with as many operations in a
/// chain half as long, in r2 = r^2 for pairs of coefficients. Unrolled at compile time so that the
/// device keeps the coefficients as immediates.
template <const auto& kCoefficients, bool kByPairs, size_t I = 0, typename V>
MPELU_HOST_DEVICE V polynomial(V r, V r2, V sum = V(0)) {
  using R = Real<V>;
  constexpr size_t kLeft = sizeof(kCoefficients) / sizeof(kCoefficients[0]) - I;
  if constexpr (kLeft == 0) {
    return sum;
  } else if constexpr (kByPairs && kLeft > 1) {
    constexpr auto kFirst = kCoefficients[I];
    constexpr auto kSecond = kCoefficients[I + 1];
    const V pair = R::multiply_add(V(kFirst), r, V(kSecond));
    return polynomial<kCoefficients, kByPairs, I + 2>(
        r, r2, I == 0 ? pair : R::multiply_add(sum, r2, pair));
  } else {
    constexpr auto kNext = kCoefficients[I];
    return polynomial<kCoefficients, kByPairs, I + 1>(
        r, r2, I == 0 ? V(kNext) : R::multiply_add(sum, r, V(kNext)));
  }
}

/// What is to become of e^z above the largest number.
enum class Overflow { kInfinity, kUnits };

/// e^z - 1 and e^z.
template <typename V>
struct Exponential {
  V expm1;
  V exp;
  /// The rounding error of expm1's last addition: -1 where e^z is too large for the 1 to matter.
  V lost;
  /// Where all three are in units of the largest power of two, for Overflow::kUnits: what they are
  /// multiplied by may be small.
  typename Real<V>::Mask is_huge;
};

/// The exponential of beta * x for x <= 0, correct to about one unit in the last place: expm1 for
/// all such x (-1 towards z = -inf, NaN for NaN), exp down to about the smallest normal number, 0
/// below. The result for x > 0 is unspecified. The rounding error of the product is carried along:
/// without it a result near 0 would lose half a unit, and a large one (beta < 0) as many units as z
/// is large.
///
/// With z = beta x = k ln 2 + r: expm1(z) = 2^k expm1(r) + (2^k - 1). k is the nearest integer, but
/// at most the last for which 2^k is finite, in units or not: just below the overflow r comes to
/// ln 2. Above it the polynomial is no more than large, and that is all it has to be.
///
/// expm1(r) is the sum of a high part and a tail. Its rounding costs little where the other term is
/// large or k is 0. Where k is 1 it could be a whole unit of the result, and there the other term
/// and the high part add up exactly.
template <Overflow kOverflow, typename V, typename RateOfV>
MPELU_HOST_DEVICE Exponential<V> exponential(V x, const RateOfV& rate) {
  using R = Real<V>;
  using T = typename R::Scalar;
  using C = ExpConstants<T>;
  constexpr T kBias(C::kExponentBias);
  constexpr T kRound = C::kRound + kBias;
  constexpr bool kHasUnits = kOverflow == Overflow::kUnits;

  V error;
  const V z = rate.template times</*kGrows=*/true>(x, error);
  const V shifted = R::at_most(R::multiply_add(z, V(C::kLog2E), V(kRound)),
                               V(kRound + (kHasUnits ? 2 * kBias : kBias)));
  const V k = shifted - V(kRound);
  typename R::Mask is_huge{};
  if constexpr (kHasUnits) {
    is_huge = R::negative(V(kBias - T(1)) - k);
  }
  const auto if_huge = [&](V a, V b)
                           MPELU_ALWAYS_INLINE { return kHasUnits ? R::select(is_huge, a, b) : b; };
  const V scale =  // 2^k
      R::template shift_left<C::kMantissaBits>(if_huge(shifted - V(kBias), shifted));
  const V high = R::multiply_add(k, V(-C::kLn2High), z);
  const V low = R::multiply_add(k, V(-C::kLn2Low), error);
  const V r = high + low;

  const V r2 = r * r;
  const V tail = R::multiply_add(r2, polynomial<C::kPolynomial, R::kShortChains>(r, r2), low);
  const V p = high + tail;
  const V scale_minus_one = if_huge(scale, scale - V(T(1)));
  const auto k_is_one = R::equal(scale, V(T(2)));
  const V first = R::multiply_add_where(k_is_one, scale, high, scale_minus_one);
  const V rest = R::select(k_is_one, tail, p);
  const V expm1 = R::multiply_add(scale, rest, first);
  const V lost = R::multiply_add(scale, rest, first - expm1);
  return {expm1, R::multiply_add(scale, p, scale),
          R::select(R::equal(scale_minus_one, scale), if_huge(V(T(0)), V(T(-1))), lost), is_huge};
}

/// The exponential of z <= 0, 0 from about the smallest normal number on: 2^k (1 + r + r^2 h),
/// where k is an integer and |r| <= ln(2) / 2. Returns h (as one struct of all three, GCC makes
/// slower code of it). ln 2 in one part and a shorter polynomial leave it correct to about 1 + |z|
/// units in the last place, as the rounding of z would. For z > 0 all three may be anything, even
/// NaN: who calls it selects.
template <typename V>
MPELU_HOST_DEVICE V decay(V z, PowerOfTwo<V>& power, V& r) {
  using R = Real<V>;
  using T = typename R::Scalar;
  using C = ExpConstants<T>;
  constexpr T kRound = C::kRound + T(C::kExponentBias);

  const V shifted = R::multiply_add(z, V(C::kLog2E), V(kRound));
  power.exponent = shifted - V(kRound);
  power.value = R::template shift_left<C::kMantissaBits>(shifted);
  r = R::multiply_add(power.exponent, V(-C::kLn2), z);
  return polynomial<C::kShortPolynomial, R::kShortChains>(r, r * r);
}

/// The same from v = z / ln 2, which takes fewer multiplications: 2^k (1 + p), where |v - k| <=
/// 1/2. Returns p.
template <typename V>
MPELU_HOST_DEVICE V binary_decay(V v, PowerOfTwo<V>& power) {
  using R = Real<V>;
  using T = typename R::Scalar;
  using C = ExpConstants<T>;
  constexpr T kBias(C::kExponentBias);
  constexpr T kRound = C::kRound + kBias;

  const V held = R::at_least(v, V(-kBias));  // where the power's value is 0, and p too
  const V shifted = held + V(kRound);
  power.exponent = shifted - V(kRound);
  power.value = R::template shift_left<C::kMantissaBits>(shifted);
  const V f = held - power.exponent;
  return f * polynomial<C::kPowerPolynomial, /*kByPairs=*/false>(f, f);
}

}  // namespace mpelu::math
