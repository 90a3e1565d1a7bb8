#pragma once

// For files that are compiled once per CPU capability only: Vectorized<T> is another type in each.
#include <ATen/cpu/vec/functional.h>
#include <ATen/cpu/vec/vec.h>

#include <algorithm>
#include <array>
#include <bit>
#include <limits>

#include "math/mpelu.h"

namespace mpelu::math {

template <typename T>
struct Real<at::vec::Vectorized<T>> {
  using Scalar = T;
  using V = at::vec::Vectorized<T>;

  static constexpr bool kShortChains = true;
#if defined(CPU_CAPABILITY_AVX512)
  static constexpr bool kFreeMasks = true;
#else
  static constexpr bool kFreeMasks = false;
#endif

#if defined(CPU_CAPABILITY_AVX2) || defined(CPU_CAPABILITY_AVX512)
  // The compiler's own vector type, which V wraps.
  using Native [[gnu::vector_size(sizeof(V))]] = T;
  using Integers = decltype(Native() > Native());

#if defined(CPU_CAPABILITY_AVX512)
  // With mask registers a comparison is one instruction, and a choice costs none: it is a part of
  // the one that computes one of the two. The compiler keeps to that for intrinsics only.
  using Mask = std::conditional_t<sizeof(T) == 4, __mmask16, __mmask8>;

  static Mask not_positive(const V& x) { return compare<_CMP_NGT_UQ>(x, V(T(0))); }
  static Mask negative(const V& x) { return compare<_CMP_NGE_UQ>(x, V(T(0))); }
  static Mask equal(const V& a, const V& b) { return compare<_CMP_EQ_OQ>(a, b); }
  static bool any(Mask mask) { return mask != 0; }

  static V select(Mask mask, const V& a, const V& b) {
    if constexpr (sizeof(T) == 4) {
      return _mm512_mask_blend_ps(mask, b, a);
    } else {
      return _mm512_mask_blend_pd(mask, b, a);
    }
  }

 private:
  template <int Predicate>
  static Mask compare(const V& a, const V& b) {
    if constexpr (sizeof(T) == 4) {
      return _mm512_cmp_ps_mask(a, b, Predicate);
    } else {
      return _mm512_cmp_pd_mask(a, b, Predicate);
    }
  }

 public:
#else
  using Mask = Integers;

  static Mask not_positive(const V& x) { return ~(Native(x) > Native{}); }
  static Mask negative(const V& x) { return ~(Native(x) >= Native{}); }
  static Mask equal(const V& a, const V& b) { return Native(a) == Native(b); }
  static bool any(const Mask& mask) {
    if constexpr (sizeof(T) == 4) {
      return _mm256_movemask_ps(std::bit_cast<__m256>(mask)) != 0;
    } else {
      return _mm256_movemask_pd(std::bit_cast<__m256d>(mask)) != 0;
    }
  }

  static V select(const Mask& mask, const V& a, const V& b) {
    return V(mask ? Native(a) : Native(b));
  }
#endif

  static V product_error(const V& a, const V& b, const V& p) { return at::vec::fmsub(a, b, p); }

  template <int Shift>
  static V shift_left(const V& x) {
    return V(Native(Integers(Native(x)) << Shift));
  }
#else
  using Mask = V;

  static Mask not_positive(const V& x) { return ~(x > V(T(0))); }
  static Mask negative(const V& x) { return ~(x >= V(T(0))); }
  static Mask equal(const V& a, const V& b) { return a == b; }
  static bool any(const Mask& /*mask*/) { return true; }
  static V select(const Mask& mask, const V& a, const V& b) { return V::blendv(b, a, mask); }

  static V product_error(const V& a, const V& b, const V& p) {
    // at::vec's own multiply-add rounds twice where the instruction set has no fused one.
    __at_align__ T x[V::size()], y[V::size()], z[V::size()];
    a.store(x);
    b.store(y);
    p.store(z);
    for (int i = 0; i < V::size(); ++i) {
      z[i] = std::fma(x[i], y[i], -z[i]);
    }
    return V::loadu(z);
  }

  template <int Shift>
  static V shift_left(const V& x) {
    using Index = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
    using Ints = at::vec::Vectorized<Index>;
    return at::vec::cast<T, Index>(at::vec::cast<Index, T>(x) << Ints(Index(Shift)));
  }
#endif

  static V scaled(const V& x, const PowerOfTwo<V>& power) {
#if defined(CPU_CAPABILITY_AVX512)
    // Not one of the multiplications, which are what the kernels wait for (Zen 4).
    if constexpr (sizeof(T) == 4) {
      return _mm512_scalef_ps(x, power.exponent);
    } else {
      return _mm512_scalef_pd(x, power.exponent);
    }
#else
    return x * power.value;
#endif
  }

  static V at_least(const V& x, const V& limit) { return at::vec::clamp_min(x, limit); }
  static V at_most(const V& x, const V& limit) { return at::vec::clamp_max(x, limit); }

  static V multiply_add(const V& a, const V& b, const V& c) { return at::vec::fmadd(a, b, c); }

  static V multiply_add_where(const Mask& mask, const V& a, const V& b, const V& c) {
    return select(mask, multiply_add(a, b, c), c);
  }
};

/// beta in all lanes, or one in each. It is x that is clamped, not beta x: the product stays
/// finite, and so does its rounding error.
template <typename T>
struct Rate<at::vec::Vectorized<T>> {
  using V = at::vec::Vectorized<T>;

  V beta;
  /// e^(beta x) has vanished or overflowed for every x below.
  V lowest;

  template <bool /*kGrows*/>
  V times(const V& x, V& error) const {
    using R = Real<V>;
    const V held = R::at_least(x, lowest);
    const V product = beta * held;
    error = R::product_error(beta, held, product);
    return product;
  }

  V binary(const V& x) const { return x * (beta * V(ExpConstants<T>::kLog2E)); }
};

/// beta = 1 in all lanes: nothing is multiplied, and nothing lost.
template <typename V>
struct UnitRate {
  using T = typename Real<V>::Scalar;

  V beta = V(T(1));

  template <bool /*kGrows*/>
  V times(const V& x, V& error) const {
    error = V(T(0));
    return Real<V>::at_least(x, V(ExpConstants<T>::kMin));
  }

  V binary(const V& x) const { return x * V(ExpConstants<T>::kLog2E); }
};

// Another type in each build of this file, as Vectorized itself is.
inline namespace CPU_CAPABILITY {

/// One channel's parameters as scalars, which are broadcast to vectors or packed into their lanes.
template <typename T>
struct Lane {
  using Scalar = T;
  using V = at::vec::Vectorized<T>;

  /// The scalars in a fixed order, and the channels that vectors of them in that order make.
  std::array<T, 3> fields() const { return {alpha, beta, lowest}; }
  static Channel<V> channel(const std::array<V, 3>& fields) {
    return {fields[0], {fields[1], fields[2]}};
  }

  bool grows() const { return Channel<T>{alpha, {beta}}.grows(); }

  T alpha;
  T beta;
  T lowest;

  /// A beta near the largest number, or infinite, counts as one that is smaller by the precision,
  /// and with a beta below the normal numbers x = -inf counts as the lowest number, so that
  /// beta * lowest is finite. With beta = 0, x = -inf is left to make the NaN of 0 * inf.
  Lane(T alpha, T beta)
      : alpha(alpha), beta(std::clamp(beta, -kLargest, kLargest)), lowest(lowest_for(this->beta)) {}

 private:
  using Limits = std::numeric_limits<T>;
  static constexpr T kLargest = Limits::max() * Limits::epsilon();

  static T lowest_for(T beta) {
    using C = ExpConstants<T>;
    return beta == 0 ? -Limits::infinity()
                     : std::max((beta < 0 ? C::kMax : C::kMin) / beta, Limits::lowest());
  }
};

/// The same where beta = 1.
template <typename T>
struct UnitLane {
  using Scalar = T;
  using V = at::vec::Vectorized<T>;

  std::array<T, 1> fields() const { return {alpha}; }
  static Channel<V, UnitRate<V>> channel(const std::array<V, 1>& fields) { return {fields[0], {}}; }

  bool grows() const { return Channel<T>{alpha, {T(1)}}.grows(); }

  T alpha;
};

}  // namespace CPU_CAPABILITY
}  // namespace mpelu::math
