#pragma once

#include <ATen/OpMathType.h>

#include <algorithm>
#include <array>
#include <bit>
#include <tuple>

#include "math/vector.h"

namespace mpelu::cpu {
// Another type or function in each build of this file, as Vectorized itself is.
inline namespace CPU_CAPABILITY {

/// Stores a register past the caches.
template <typename scalar_t>
MPELU_ALWAYS_INLINE inline void stream(scalar_t* to, const at::vec::Vectorized<scalar_t>& vector) {
#if defined(CPU_CAPABILITY_AVX512)
  _mm512_stream_si512(reinterpret_cast<__m512i*>(to), std::bit_cast<__m512i>(vector));
#elif defined(CPU_CAPABILITY_AVX2)
  _mm256_stream_si256(reinterpret_cast<__m256i*>(to), std::bit_cast<__m256i>(vector));
#else
  vector.store(to);
#endif
}

/// Vectors that are computed side by side: while one waits for its own results, the processor goes
/// on with the other.
constexpr int kSideBySide = 2;

/// A register of scalar_t's makes so many vectors of the type of the arithmetic.
template <typename scalar_t>
constexpr int kVectorsOfRegister = sizeof(at::opmath_type<scalar_t>) / sizeof(scalar_t);

/// The elements of so many registers, side by side in memory: loaded from scalar_t's and widened to
/// the type of the arithmetic.
template <typename scalar_t, int kRegisters>
struct Pack {
  using T = at::opmath_type<scalar_t>;
  using V = at::vec::Vectorized<T>;
  using Register = at::vec::Vectorized<scalar_t>;

  static constexpr int kVectors = kRegisters * kVectorsOfRegister<scalar_t>;
  static constexpr int64_t kSize = kRegisters * Register::size();
  static constexpr int64_t kBytes = kSize * sizeof(scalar_t);

  std::array<V, kVectors> vectors;

  /// Loads the first count elements; the others are zero.
  MPELU_ALWAYS_INLINE static Pack load(const scalar_t* data, int64_t count) {
    Pack pack;
    for (int i = 0; i < kRegisters; ++i) {
      const scalar_t* const from = data + i * Register::size();
      const int64_t valid = count - i * Register::size();
      pack.widen(i, valid >= Register::size() ? Register::loadu(from)
                                              : Register::loadu(from, std::max<int64_t>(valid, 0)));
    }
    return pack;
  }

  /// Stores the first count elements, whole registers past the caches if so wished: without reading
  /// there first what is overwritten. For that data is aligned to them, and finish_streams() must
  /// follow.
  MPELU_ALWAYS_INLINE void store(scalar_t* data, int64_t count, bool stream) const {
    for (int i = 0; i < kRegisters; ++i) {
      scalar_t* const to = data + i * Register::size();
      const int64_t valid = count - i * Register::size();
      if (valid < Register::size()) {
        narrowed(i).store(to, static_cast<int>(std::max<int64_t>(valid, 0)));
      } else if (stream) {
        mpelu::cpu::stream(to, narrowed(i));
      } else {
        narrowed(i).store(to);
      }
    }
  }

 private:
  void widen(int i, const Register& stored) {
    if constexpr (kVectorsOfRegister<scalar_t> == 1) {
      vectors[i] = stored;
    } else {
      std::tie(vectors[2 * i], vectors[2 * i + 1]) = at::vec::convert_to_float<scalar_t>(stored);
    }
  }

  Register narrowed(int i) const {
    if constexpr (kVectorsOfRegister<scalar_t> == 1) {
      return vectors[i];
    } else {
      return at::vec::convert_from_float<scalar_t>(vectors[2 * i], vectors[2 * i + 1]);
    }
  }
};

/// The vector's valid elements, and `other`'s in the lanes after them.
template <typename V>
MPELU_ALWAYS_INLINE inline V or_else(const V& vector, int64_t valid, const V& other) {
  return valid < V::size() ? V::set(other, vector, std::max<int64_t>(valid, 0)) : vector;
}

/// Makes what this thread has streamed visible to the others.
inline void finish_streams() {
#if defined(CPU_CAPABILITY_AVX512) || defined(CPU_CAPABILITY_AVX2)
  _mm_sfence();
#endif
}

}  // namespace CPU_CAPABILITY
}  // namespace mpelu::cpu
