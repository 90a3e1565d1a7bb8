#pragma once

#include <cstdint>

#include "math/batch_norm.h"
#include "ops/cuda/geometry.h"

namespace mpelu::cuda {

using math::BatchNormSums;
using math::Moments;
using math::Sums;

template <typename T, typename U>
__device__ Sums<T>& operator+=(Sums<T>& sums, const Sums<U>& other) {
  sums.alpha += other.alpha;
  sums.beta += other.beta;
  return sums;
}

template <typename T, typename U>
__device__ BatchNormSums<T>& operator+=(BatchNormSums<T>& sums, const BatchNormSums<U>& other) {
  sums.activation += other.activation;
  sums.grad += other.grad;
  sums.grad_x += other.grad_x;
  return sums;
}

__device__ inline Moments& operator+=(Moments& moments, const Moments& other) {
  return moments = math::together(moments, other);
}

/// Adds up the values of a block of `width` x `height` threads over its height, pairwise in a fixed
/// order. The first `width` threads get the sums; the others' values are unspecified. Called at
/// most once per kernel.
template <typename T, int N>
__device__ void reduce_block(T (&values)[N], int width, int height) {
  __shared__ T shared[N][kTileThreads];
  const int thread = threadIdx.x;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    shared[i][thread] = values[i];
  }
  while (height > 1) {
    __syncthreads();
    const int half = (height + 1) / 2;
    if (thread < (height - half) * width) {
#pragma unroll
      for (int i = 0; i < N; ++i) {
        shared[i][thread] += shared[i][thread + half * width];
      }
    }
    height = half;
  }
#pragma unroll
  for (int i = 0; i < N; ++i) {
    values[i] = shared[i][thread];
  }
}

}  // namespace mpelu::cuda
