#include "math/mpelu.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <type_traits>

#include "../catch.h"
#include "math/vector.h"
#include "ulps.h"

namespace {

using mpelu::math::ParameterRange;
using mpelu::math::Precision;

/// f(x), computed in V: the number type itself or a vector of it, with x in the last lane and
/// another number in the others.
template <typename V, ParameterRange Range, Precision kPrecision, typename T>
T forward(T x, T alpha, T beta) {
  if constexpr (std::is_same_v<V, T>) {
    return mpelu::math::forward<Range, kPrecision>(x, mpelu::math::Channel<T>{alpha, {beta}});
  } else {
    const mpelu::math::Lane<T> lane(alpha, beta);
    T values[V::size()];
    std::fill(std::begin(values), std::end(values), T(1));
    values[V::size() - 1] = x;
    const mpelu::math::Channel<V> channel{V(lane.alpha), {V(lane.beta), V(lane.lowest)}};
    mpelu::math::forward<Range, kPrecision>(V::loadu(values), channel).store(values);
    return values[V::size() - 1];
  }
}

/// Calls check(x, alpha, beta) for parameters that put f(x) where an error is most units in the
/// last place: just below a power of two.
template <typename T, typename Check>
void for_hard_numbers(T sign_of_beta, const Check& check) {
  std::mt19937_64 random(1);
  std::uniform_real_distribution<double> uniform(0, 1);
  for (int i = 0; i < 1000; ++i) {
    const double z = sign_of_beta < 0 ? 9 * uniform(random) : -4 * uniform(random);
    int exponent;
    const double fraction = std::frexp(std::abs(std::expm1(z)), &exponent);
    const T alpha = static_cast<T>((1 - 0.01 * uniform(random)) / fraction);
    const T beta = sign_of_beta * static_cast<T>(0.25 + uniform(random));
    for (int j = 0; j < 100; ++j) {
      check(static_cast<T>(z * (1 + 0.004 * uniform(random)) / beta), alpha, beta);
    }
  }
}

template <typename T>
long double exact(T x, T alpha, T beta) {
  return alpha * std::expm1(static_cast<long double>(beta) * x);
}

template <typename V, ParameterRange Range, Precision kPrecision, typename T>
double worst_of_hard_numbers(T sign_of_beta) {
  double worst = 0;
  for_hard_numbers(sign_of_beta, [&](T x, T alpha, T beta) {
    const T actual = forward<V, Range, kPrecision>(x, alpha, beta);
    worst = std::max(worst, ulps(actual, exact(x, alpha, beta)));
  });
  return worst;
}

}  // namespace

CATCH_TEMPLATE_TEST_CASE("values are correct to 2 units in the last place, the hardest too",
                         "[math]", float, double, at::vec::Vectorized<float>,
                         at::vec::Vectorized<double>) {
  using V = TestType;
  using T = typename mpelu::math::Real<V>::Scalar;
  constexpr auto kFull = Precision::kFull;
  CATCH_CHECK(worst_of_hard_numbers<V, ParameterRange::kDecaying, kFull, T>(1) < 2);
  CATCH_CHECK(worst_of_hard_numbers<V, ParameterRange::kAny, kFull, T>(1) < 2);
  CATCH_CHECK(worst_of_hard_numbers<V, ParameterRange::kAny, kFull, T>(-1) < 2);
}

CATCH_TEMPLATE_TEST_CASE("values are correct up to their own overflow, not the exponential's",
                         "[math]", float, double, at::vec::Vectorized<float>,
                         at::vec::Vectorized<double>) {
  using V = TestType;
  using T = typename mpelu::math::Real<V>::Scalar;
  const T largest = std::numeric_limits<T>::max();
  for (const T alpha : {T(1e-30), T(0.03), T(-0.25), T(-1), T(1.9), T(500)}) {
    // Where alpha e^z is the largest number, from where e^z or its product with alpha may overflow.
    const T end = std::log(largest) - std::log(std::abs(alpha));
    double worst = 0;
    for (int i = 0; i <= 20'000; ++i) {
      const T x = -end * (T(0.4) + T(0.61) * i / 20'000);
      const T actual = forward<V, ParameterRange::kAny, Precision::kFull>(x, alpha, T(-1));
      const long double expected = exact(x, alpha, T(-1));
      if (std::isinf(static_cast<T>(expected))) {
        CATCH_REQUIRE(actual == static_cast<T>(expected));
      } else {
        worst = std::max(worst, ulps(actual, expected));
      }
    }
    CATCH_CAPTURE(alpha);
    CATCH_CHECK(worst < 2);
  }
}

CATCH_TEMPLATE_TEST_CASE("values for rounded numbers are correct to 3 units", "[math]", float,
                         double, at::vec::Vectorized<float>, at::vec::Vectorized<double>) {
  using V = TestType;
  using T = typename mpelu::math::Real<V>::Scalar;
  CATCH_CHECK(worst_of_hard_numbers<V, ParameterRange::kDecaying, Precision::kRounded, T>(1) < 3);
}

CATCH_TEMPLATE_TEST_CASE("parameters that decay have the same bits whatever the range", "[math]",
                         float, double, at::vec::Vectorized<float>, at::vec::Vectorized<double>) {
  using V = TestType;
  using T = typename mpelu::math::Real<V>::Scalar;
  int64_t different = 0;
  for_hard_numbers(T(1), [&](T x, T alpha, T beta) {
    different += forward<V, ParameterRange::kAny, Precision::kFull>(x, alpha, beta) !=
                 forward<V, ParameterRange::kDecaying, Precision::kFull>(x, alpha, beta);
  });
  CATCH_CHECK(different == 0);
}

CATCH_TEMPLATE_TEST_CASE("every lane gets the formula of its own parameters", "[math]",
                         at::vec::Vectorized<float>, at::vec::Vectorized<double>) {
  using V = TestType;
  using T = typename mpelu::math::Real<V>::Scalar;
  using enum ParameterRange;
  const T x = -2;
  const mpelu::math::Lane<T> decaying(T(0.9), T(0.7));
  const mpelu::math::Lane<T> growing(T(0.9), T(-0.7));
  const T decayed = forward<V, kDecaying, Precision::kFull>(x, decaying.alpha, decaying.beta);
  const T grown = forward<V, kGrowing, Precision::kFull>(x, growing.alpha, growing.beta);
  for (int one = 0; one < V::size(); ++one) {
    T betas[V::size()];
    T lowests[V::size()];
    T values[V::size()];
    for (int i = 0; i < V::size(); ++i) {
      const auto& lane = i == one ? growing : decaying;
      betas[i] = lane.beta;
      lowests[i] = lane.lowest;
    }
    const mpelu::math::Channel<V> channel{V(growing.alpha), {V::loadu(betas), V::loadu(lowests)}};
    mpelu::math::forward<kAny>(V(x), channel).store(values);
    for (int i = 0; i < V::size(); ++i) {
      CATCH_CAPTURE(one, i);
      CATCH_CHECK(values[i] == (i == one ? grown : decayed));
    }
  }
}

CATCH_TEMPLATE_TEST_CASE("without a product the values have the bits of beta = 1", "[math]",
                         at::vec::Vectorized<float>, at::vec::Vectorized<double>) {
  using V = TestType;
  using T = typename mpelu::math::Real<V>::Scalar;
  constexpr T kInfinity = std::numeric_limits<T>::infinity();
  constexpr auto kAny = ParameterRange::kAny;
  for (const T alpha : {T(1), T(0.3), T(-2), T(0), kInfinity}) {
    const mpelu::math::Channel<V, mpelu::math::UnitRate<V>> channel{V(alpha), {}};
    const auto equals = [&](T x) {
      T values[V::size()];
      mpelu::math::forward<kAny>(V(x), channel).store(values);
      const T expected = forward<V, kAny, Precision::kFull>(x, alpha, T(1));
      return std::memcmp(&values[0], &expected, sizeof(T)) == 0;
    };
    int64_t different = 0;
    for (T x = T(-1e-8); x > T(-1e4); x *= T(1.0009)) {
      different += !equals(x);
    }
    CATCH_CAPTURE(alpha);
    CATCH_CHECK(different == 0);
    for (const T x : {T(0), T(-0.0), T(3), kInfinity, -kInfinity, std::numeric_limits<T>::lowest(),
                      -std::numeric_limits<T>::denorm_min()}) {
      CATCH_CAPTURE(x);
      CATCH_CHECK(equals(x));
    }
  }
}

CATCH_TEMPLATE_TEST_CASE("an alpha of 0 gives +0 below zero by every formula", "[math]", float,
                         double, at::vec::Vectorized<float>, at::vec::Vectorized<double>) {
  using V = TestType;
  using T = typename mpelu::math::Real<V>::Scalar;
  const auto is_plus_zero = [](T value) { return value == 0 && !std::signbit(value); };
  for (const T alpha : {T(0), T(-0.0)}) {
    for (T x = -100; x < 0; x += T(0.37)) {
      CATCH_CAPTURE(alpha, x);
      using enum ParameterRange;
      CATCH_REQUIRE(is_plus_zero(forward<V, kDecaying, Precision::kFull>(x, alpha, T(0.7))));
      CATCH_REQUIRE(is_plus_zero(forward<V, kDecaying, Precision::kRounded>(x, alpha, T(0.7))));
      CATCH_REQUIRE(is_plus_zero(forward<V, kGrowing, Precision::kFull>(x, alpha, T(0.7))));
      CATCH_REQUIRE(is_plus_zero(forward<V, kGrowing, Precision::kFull>(x, alpha, T(-0.7))));
    }
  }
}

CATCH_TEMPLATE_TEST_CASE("an infinite alpha gives infinite values below zero", "[math]", float,
                         double, at::vec::Vectorized<float>, at::vec::Vectorized<double>) {
  using V = TestType;
  using T = typename mpelu::math::Real<V>::Scalar;
  constexpr T kInfinity = std::numeric_limits<T>::infinity();
  const auto value = [](T x, T alpha, T beta) {
    return forward<V, ParameterRange::kAny, Precision::kFull>(x, alpha, beta);
  };
  for (const T x : {T(-0.5), T(-1000), -kInfinity}) {
    CATCH_CAPTURE(x);
    CATCH_CHECK(value(x, kInfinity, 1) == -kInfinity);
    CATCH_CHECK(value(x, -kInfinity, 1) == kInfinity);
    CATCH_CHECK(value(x, kInfinity, -1) == kInfinity);
  }
  CATCH_CHECK(value(2, kInfinity, 1) == 2);
}
