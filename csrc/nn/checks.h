#pragma once

#include <cmath>
#include <cstdint>

#include <c10/util/Exception.h>

namespace mpelu::nn {

inline void check_finite(const char* module, const char* argument, double value) {
  TORCH_CHECK_VALUE(std::isfinite(value), module, ": ", argument, " must be finite, got ", value);
}

inline void check_num_parameters(const char* module, int64_t num_parameters) {
  TORCH_CHECK_VALUE(num_parameters >= 1, module, ": num_parameters must be >= 1, got ",
                    num_parameters);
}

}  // namespace mpelu::nn
