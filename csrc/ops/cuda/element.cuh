#pragma once

#include <cstdint>
#include <cstring>
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

/// Those of the widest where each may be of another channel of a batch norm.
template <typename T>
constexpr int kFew = kWidest<T> < kBatchNormColumns ? kWidest<T> : kBatchNormColumns;

/// N neighbours in memory, read and written in one access.
template <typename T, int N>
struct alignas(sizeof(T) * N) Pack {
  T values[N];
};

/// The bytes of a pack as words: numbers of two bytes would be put together one by one.
template <typename Pack,
          typename Word = std::conditional_t<sizeof(Pack) % 4 == 0, uint32_t, uint16_t>>
struct [[gnu::may_alias]] alignas(Pack) Words {
  Word words[sizeof(Pack) / sizeof(Word)];
};

/// What load() gives where there is nothing, by its bytes: zeros, or numbers above zero, whatever
/// the type.
enum class Fill : unsigned char { kZero = 0, kPositive = 0x3f };

/// The pack at `from`, or `fill` where there is none.
template <typename Pack>
__device__ Pack load(const Pack* from, bool exists, Fill fill) {
  Words<Pack> words;
  std::memset(&words, static_cast<unsigned char>(fill), sizeof(words));
  if (exists) {
    words = *reinterpret_cast<const Words<Pack>*>(from);
  }
  Pack pack;
  std::memcpy(&pack, &words, sizeof(pack));
  return pack;
}

/// An access' results: function(inputs, outputs) makes outputs[i] of inputs[i], which has element i
/// of each pack, all in the type of the arithmetic. Converted apart from what is computed, two half
/// numbers take one instruction.
template <typename T, int N, int kInputs, typename Function>
__device__ Pack<T, N> computed(const Pack<T, N> (&packs)[kInputs], const Function& function) {
  Arithmetic<T> inputs[N][kInputs];
#pragma unroll
  for (int i = 0; i < N; ++i) {
#pragma unroll
    for (int k = 0; k < kInputs; ++k) {
      inputs[i][k] = widen(packs[k].values[i]);
    }
  }
  Arithmetic<T> outputs[N];
  function(inputs, outputs);
  Pack<T, N> result;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    result.values[i] = narrow<T>(outputs[i]);
  }
  return result;
}

}  // namespace mpelu::cuda
