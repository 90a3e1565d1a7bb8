#pragma once

#include <c10/util/Exception.h>

#include <cmath>
#include <cstdint>
#include <string>

// What modules and initialisers ask of numbers. Each throws a c10::ValueError that names the
// number.
namespace mpelu {

inline void check_finite(const std::string& name, double value) {
  TORCH_CHECK_VALUE(std::isfinite(value), name, " must be finite, got ", value);
}

/// alpha * beta, the slope of an activation at 0 from below.
inline double finite_slope(double alpha, double beta) {
  check_finite("alpha", alpha);
  check_finite("beta", beta);
  check_finite("alpha * beta", alpha * beta);
  return alpha * beta;
}

inline void check_positive(const std::string& name, int64_t value) {
  TORCH_CHECK_VALUE(value >= 1, name, " must be >= 1, got ", value);
}

}  // namespace mpelu
