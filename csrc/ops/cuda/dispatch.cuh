#pragma once

#include "ops/cuda/arguments.h"
#include "ops/cuda/half.cuh"

namespace mpelu::cuda {

/// Calls function<scalar_t, param_t>() with the types of a tensor and its parameters.
template <typename Function>
void dispatch(DType dtype, DType parameter_dtype, Function function) {
  const bool same = dtype == parameter_dtype;
  switch (dtype) {
    case DType::Float64:
      return function.template operator()<double, double>();
    case DType::Float32:
      return function.template operator()<float, float>();
    case DType::Float16:
      return same ? function.template operator()<__half, __half>()
                  : function.template operator()<__half, float>();
    case DType::BFloat16:
      return same ? function.template operator()<__nv_bfloat16, __nv_bfloat16>()
                  : function.template operator()<__nv_bfloat16, float>();
  }
}

}  // namespace mpelu::cuda
