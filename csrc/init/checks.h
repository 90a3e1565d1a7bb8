#pragma once

#include <cmath>
#include <string>

#include <c10/util/Exception.h>

namespace mpelu::init {

inline void check_finite(const std::string& what, double value) {
  TORCH_CHECK_VALUE(std::isfinite(value), what, " must be finite, got ", value);
}

}  // namespace mpelu::init
