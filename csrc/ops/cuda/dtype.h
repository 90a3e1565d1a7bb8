#pragma once

#include <c10/core/ScalarType.h>

#include "ops/cuda/arguments.h"

namespace mpelu::cuda {

/// The kernels' name for one of the dtypes that check_input lets pass.
inline DType to_dtype(at::ScalarType dtype) {
  switch (dtype) {
    case at::kDouble:
      return DType::Float64;
    case at::kFloat:
      return DType::Float32;
    case at::kHalf:
      return DType::Float16;
    default:
      return DType::BFloat16;
  }
}

}  // namespace mpelu::cuda
