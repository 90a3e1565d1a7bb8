#pragma once

#include <cmath>
#include <cstdint>

#include <c10/util/Exception.h>

namespace mpelu::nn {

inline void check_finite(const char* module, const char* argument, double value) {
  TORCH_CHECK_VALUE(std::isfinite(value), module, ": ", argument, " must be finite, got ", value);
}

inline void check_positive(const char* module, const char* argument, int64_t value) {
  TORCH_CHECK_VALUE(value >= 1, module, ": ", argument, " must be >= 1, got ", value);
}

}  // namespace mpelu::nn
