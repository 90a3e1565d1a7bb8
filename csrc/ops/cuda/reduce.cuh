#pragma once

#include <cstdint>

#include "math/batch_norm.h"
#include "ops/cuda/element.cuh"

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

template <typename T>
__device__ Moments<T>& operator+=(Moments<T>& moments, const Moments<T>& other) {
  return moments = math::together(moments, other);
}

/// Adds up the values of a block of `width` x `height` threads over its height, pairwise in a fixed
/// order. The first `width` threads get the sums; the others' values are unspecified. Called at
/// most once per kernel.
template <int kThreads, typename T, int N>
__device__ void reduce_block(T (&values)[N], int width, int height) {
  __shared__ T shared[N][kThreads];
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

/// Where a kernel's sums go: to the gradients where there is one sum per parameter, else to the
/// workspace, as [splits, columns] for alpha and the same for beta.
template <typename param_t>
struct SumOutput {
  double* alpha_sums;
  double* beta_sums;
  param_t* grad_alpha;
  param_t* grad_beta;

  template <typename V>
  __device__ void store(int64_t place, const Sums<double>& totals,
                        const math::Channel<V>& channel) const {
    const auto sums = math::parameter_gradients(totals, channel.alpha);
    if (alpha_sums != nullptr) {
      alpha_sums[place] = sums.alpha;
    } else {
      grad_alpha[place] = narrow<param_t>(sums.alpha);
    }
    if (beta_sums != nullptr) {
      beta_sums[place] = sums.beta;
    } else if (grad_beta != nullptr) {
      grad_beta[place] = narrow<param_t>(sums.beta);
    }
  }
};

}  // namespace mpelu::cuda
