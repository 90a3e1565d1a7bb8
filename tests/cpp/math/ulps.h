#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

/// The distance between a result and the exact value, in units of the exact value's last place.
template <typename T>
double ulps(T actual, long double exact) {
  using Limits = std::numeric_limits<T>;
  const T rounded = static_cast<T>(exact);
  if (std::isinf(rounded) || std::isinf(actual)) {
    return actual == rounded ? 0.0 : Limits::infinity();
  }
  int exponent;
  std::frexp(exact, &exponent);
  exponent = std::max(exponent, Limits::min_exponent);
  return static_cast<double>(std::abs(actual - exact) /
                             std::ldexp(1.0L, exponent - Limits::digits));
}
