#pragma once

#include <cstdint>
#include <type_traits>

#include "ops/cuda/geometry.h"

namespace mpelu::cuda {

/// Half types are computed with in float.
template <typename T>
using Arithmetic = std::conditional_t<std::is_same_v<T, double>, double, float>;

/// Conversions to and from the type of the arithmetic; half.cuh has CUDA's half types.
template <typename T>
struct Convert {
  static __device__ Arithmetic<T> widen(T value) { return static_cast<Arithmetic<T>>(value); }

  template <typename V>
  static __device__ T narrow(V value) {
    return static_cast<T>(static_cast<Arithmetic<T>>(value));
  }
};

template <typename T>
__device__ Arithmetic<T> widen(T value) {
  return Convert<T>::widen(value);
}

template <typename T, typename V>
__device__ T narrow(V value) {
  return Convert<T>::narrow(value);
}

/// Elements of the widest access.
template <typename T>
constexpr int kWidest = kAccessBytes / sizeof(T);

/// N neighbours in memory, read and written in one access.
template <typename T, int N>
struct alignas(sizeof(T) * N) Pack {
  T values[N];
};

/// The pack at `from`, or `fill` in all places where there is none.
template <typename T, int N>
__device__ Pack<T, N> load(const Pack<T, N>* from, bool exists, T fill) {
  Pack<T, N> pack;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    pack.values[i] = fill;
  }
  if (exists) {
    pack = *from;
  }
  return pack;
}

}  // namespace mpelu::cuda
