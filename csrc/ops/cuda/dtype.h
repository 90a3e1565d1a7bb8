#pragma once

#include <c10/core/ScalarType.h>
#include <c10/util/Exception.h>

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
    case at::kBFloat16:
      return DType::BFloat16;
    default:
      TORCH_INTERNAL_ASSERT(false, "no CUDA kernels of ", dtype);
  }
}

}  // namespace mpelu::cuda
