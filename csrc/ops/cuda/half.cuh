#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "ops/cuda/element.cuh"

namespace mpelu::cuda {

// By name, since torch's usual compiler flags take the implicit conversions away.

template <>
struct Convert<__half> {
  static __device__ float widen(__half value) { return __half2float(value); }

  template <typename V>
  static __device__ __half narrow(V value) {
    return __float2half_rn(static_cast<float>(value));
  }
};

template <>
struct Convert<__nv_bfloat16> {
  static __device__ float widen(__nv_bfloat16 value) { return __bfloat162float(value); }

  template <typename V>
  static __device__ __nv_bfloat16 narrow(V value) {
    return __float2bfloat16_rn(static_cast<float>(value));
  }
};

}  // namespace mpelu::cuda
