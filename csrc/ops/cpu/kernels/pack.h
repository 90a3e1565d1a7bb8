#pragma once

#include <ATen/OpMathType.h>

#include <algorithm>
#include <array>
#include <bit>

#include "math/vector.h"

namespace mpelu::cpu {
// Another type or function in each build of this file, as Vectorized itself is.
inline namespace CPU_CAPABILITY {

/// As many elements as one vector register holds, loaded from scalar_t's and widened to the type of
/// the arithmetic: one vector of it for float and double, two for the half types.
template <typename scalar_t>
struct Pack {
  using T = at::opmath_type<scalar_t>;
  using V = at::vec::Vectorized<T>;
  using Stored = at::vec::Vectorized<scalar_t>;

  static constexpr int kVectors = sizeof(T) / sizeof(scalar_t);
  static constexpr int64_t kSize = Stored::size();

  std::array<V, kVectors> vectors;

  static Pack load(const scalar_t* data) { return widened(Stored::loadu(data)); }

  /// Loads count < kSize elements; the others are zero.
  static Pack load(const scalar_t* data, int64_t count) {
    return widened(Stored::loadu(data, count));
  }

  void store(scalar_t* data) const { narrowed().store(data); }
  void store(scalar_t* data, int64_t count) const {
    narrowed().store(data, static_cast<int>(count));
  }

  /// Stores a whole pack past the caches, without reading there first what is overwritten. data is
  /// aligned to the pack; finish_streams() must follow.
  void stream(scalar_t* data) const {
#if defined(CPU_CAPABILITY_AVX512)
    _mm512_stream_si512(reinterpret_cast<__m512i*>(data), bits<__m512i>());
#elif defined(CPU_CAPABILITY_AVX2)
    _mm256_stream_si256(reinterpret_cast<__m256i*>(data), bits<__m256i>());
#else
    store(data);
#endif
  }

 private:
  template <typename Bits>
  Bits bits() const {
    return std::bit_cast<Bits>(narrowed());
  }

  static Pack widened(const Stored& stored) {
    if constexpr (kVectors == 1) {
      return {{stored}};
    } else {
      const auto [low, high] = at::vec::convert_to_float<scalar_t>(stored);
      return {{low, high}};
    }
  }

  Stored narrowed() const {
    if constexpr (kVectors == 1) {
      return vectors[0];
    } else {
      return at::vec::convert_from_float<scalar_t>(vectors[0], vectors[1]);
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
