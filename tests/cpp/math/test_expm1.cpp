#include "math/expm1.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>
#include <type_traits>

#include "../catch.h"
#include "math/vector.h"
#include "ulps.h"

namespace {

template <typename T>
constexpr T kInfinity = std::numeric_limits<T>::infinity();

template <typename T>
struct Exponential {
  T expm1;
  T exp;
};

/// The number itself, or the last of a vector.
template <typename V>
auto last_lane(const V& numbers) {
  using T = typename mpelu::math::Real<V>::Scalar;
  if constexpr (std::is_same_v<V, T>) {
    return numbers;
  } else {
    T lanes[V::size()];
    numbers.store(lanes);
    return lanes[V::size() - 1];
  }
}

/// expm1 and exp of beta * x for x <= 0, computed in V: the number type itself or a vector of it.
template <typename V, typename T = typename mpelu::math::Real<V>::Scalar>
Exponential<T> exponential(T x, T beta) {
  mpelu::math::Rate<V> rate;
  if constexpr (std::is_same_v<V, T>) {
    rate = {beta};
  } else {
    const mpelu::math::Lane<T> lane(1, beta);
    rate = {V(lane.beta), V(lane.lowest)};
  }
  const auto result = mpelu::math::exponential<mpelu::math::Overflow::kInfinity>(V(x), rate);
  return {last_lane(result.expm1), last_lane(result.exp)};
}

/// The same of z, of any sign.
template <typename V, typename T = typename mpelu::math::Real<V>::Scalar>
Exponential<T> exponential(T z) {
  return exponential<V>(-std::abs(z), std::signbit(z) ? T(1) : T(-1));
}

/// Calls function with numbers of every magnitude, denormals too, and with an even grid over what
/// does not overflow; with their negatives if sign is -1.
template <typename T, typename Function>
void for_many_numbers(T sign, const Function& function) {
  using Bits = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
  constexpr int kSteps = 300'000;
  const auto largest = std::bit_cast<Bits>(std::numeric_limits<T>::max());
  const T end = std::log(std::numeric_limits<T>::max());
  for (int i = 0; i <= kSteps; ++i) {
    function(sign * std::bit_cast<T>(static_cast<Bits>(largest / kSteps * i)));
    function(sign * end * i / kSteps);
  }
}

}  // namespace

CATCH_TEMPLATE_TEST_CASE("expm1 and exp are correct to 1.5 units in the last place", "[math]",
                         float, double, at::vec::Vectorized<float>, at::vec::Vectorized<double>) {
  using T = typename mpelu::math::Real<TestType>::Scalar;
  for (const T sign : {T(-1), T(1)}) {
    double expm1_error = 0;
    double exp_error = 0;
    for_many_numbers(sign, [&](T z) {
      const auto [expm1, exp] = exponential<TestType>(z);
      const auto exact = static_cast<long double>(z);
      expm1_error = std::max(expm1_error, ulps(expm1, std::expm1(exact)));
      if (std::exp(z) >= 2 * std::numeric_limits<T>::min()) {
        exp_error = std::max(exp_error, ulps(exp, std::exp(exact)));
      }
    });
    CATCH_CHECK(expm1_error < 1.5);
    CATCH_CHECK(exp_error < 1.5);
  }
}

CATCH_TEMPLATE_TEST_CASE("expm1 is correct to 1.2 units where its two terms cancel", "[math]",
                         float, double, at::vec::Vectorized<float>, at::vec::Vectorized<double>) {
  using T = typename mpelu::math::Real<TestType>::Scalar;
  double worst = 0;
  for (T z = T(0.35); z < T(0.5); z += T(1e-6)) {
    worst = std::max(worst,
                     ulps(exponential<TestType>(z).expm1, std::expm1(static_cast<long double>(z))));
  }
  CATCH_CHECK(worst < 1.2);
}

CATCH_TEMPLATE_TEST_CASE("the exponentials are exact near 0 and out of range", "[math]", float,
                         double, at::vec::Vectorized<float>, at::vec::Vectorized<double>) {
  using T = typename mpelu::math::Real<TestType>::Scalar;
  constexpr T kTiny = std::numeric_limits<T>::min();
  struct Case {
    T z, expm1, exp;
  };
  for (const auto& [z, expm1, exp] : {
           Case{0, 0, 1},
           Case{kTiny, kTiny, 1},
           Case{-kTiny, -kTiny, 1},
           Case{-1e3, -1, 0},
           Case{-kInfinity<T>, -1, 0},
           Case{1e3, kInfinity<T>, kInfinity<T>},
           Case{kInfinity<T>, kInfinity<T>, kInfinity<T>},
       }) {
    CATCH_CAPTURE(z);
    const auto result = exponential<TestType>(z);
    CATCH_CHECK(result.expm1 == expm1);
    CATCH_CHECK(result.exp == exp);
  }
  const auto nan = exponential<TestType>(std::numeric_limits<T>::quiet_NaN());
  CATCH_CHECK(std::isnan(nan.expm1));
  CATCH_CHECK(std::isnan(nan.exp));
}

CATCH_TEMPLATE_TEST_CASE("an exponential that decays loses units only in proportion to z", "[math]",
                         float, double, at::vec::Vectorized<float>, at::vec::Vectorized<double>) {
  using V = TestType;
  using T = typename mpelu::math::Real<V>::Scalar;
  const T end = std::log(4 * std::numeric_limits<T>::min());
  double worst = 0;
  for (int i = 0; i <= 100'000; ++i) {
    const T z = end * i / 100'000;
    mpelu::math::PowerOfTwo<V> power;
    V r;
    const V h = mpelu::math::decay(V(z), power, r);
    const V scale = power.value;
    const auto exp = last_lane(mpelu::math::Real<V>::multiply_add(scale, r + r * r * h, scale));
    worst = std::max(worst, ulps(exp, std::exp(static_cast<long double>(z))) - 1.25 * std::abs(z));
  }
  CATCH_CHECK(worst < 1.5);
}

CATCH_TEMPLATE_TEST_CASE("a power of two that decays is exact but for its last roundings", "[math]",
                         float, double, at::vec::Vectorized<float>, at::vec::Vectorized<double>) {
  using V = TestType;
  using R = mpelu::math::Real<V>;
  using T = typename R::Scalar;
  const T end = std::numeric_limits<T>::min_exponent;
  double worst = 0;
  double worst_near_zero = 0;
  for (int i = 1; i <= 100'000; ++i) {
    const T v = end * i / 100'000;
    mpelu::math::PowerOfTwo<V> power;
    const V p = mpelu::math::binary_decay(V(v), power);
    const auto exact = std::exp2(static_cast<long double>(v));
    worst = std::max(worst, ulps(last_lane(R::scaled(p, power) + power.value), exact));
    if (v > T(-0.5)) {
      const auto z = static_cast<long double>(v) * std::numbers::ln2_v<long double>;
      worst_near_zero = std::max(worst_near_zero, ulps(last_lane(p), std::expm1(z)));
    }
  }
  CATCH_CHECK(worst < 1.5);
  CATCH_CHECK(worst_near_zero < 2);
  for (const T v : {2 * end, std::numeric_limits<T>::lowest(), -kInfinity<T>}) {
    mpelu::math::PowerOfTwo<V> power;
    const V p = mpelu::math::binary_decay(V(v), power);
    CATCH_CHECK(last_lane(R::scaled(p, power) + power.value) == 0);
  }
}

CATCH_TEMPLATE_TEST_CASE("the rounding of the product beta * x does not show", "[math]", float,
                         double, at::vec::Vectorized<float>, at::vec::Vectorized<double>) {
  using T = typename mpelu::math::Real<TestType>::Scalar;
  double worst = 0;
  for (const T beta : {T(0.3), T(-0.7), T(1.1)}) {
    for (T x = -60; x < 0; x += T(0.013)) {
      const auto exact = static_cast<long double>(beta) * x;
      worst = std::max(worst, ulps(exponential<TestType>(x, beta).expm1, std::expm1(exact)));
    }
  }
  CATCH_CHECK(worst < 1.5);
}
