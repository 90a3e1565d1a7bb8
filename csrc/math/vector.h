#pragma once

// For files that are compiled once per CPU capability only: Vectorized<T> is another type in each.
#include <ATen/cpu/vec/functional.h>
#include <ATen/cpu/vec/vec.h>

#include <algorithm>
#include <limits>

#include "math/mpelu.h"

namespace mpelu::math {

template <typename T>
struct Real<at::vec::Vectorized<T>> {
  using Scalar = T;
  using V = at::vec::Vectorized<T>;

#if defined(CPU_CAPABILITY_AVX2) || defined(CPU_CAPABILITY_AVX512)
  // The compiler's own vector type, which V wraps. Its comparisons and choices become one
  // instruction each, with AVX-512's mask registers, where V's build whole vectors of bits.
  using Native [[gnu::vector_size(sizeof(V))]] = T;
  using Mask = decltype(Native() > Native());

  static Mask positive(const V& x) { return Native(x) > Native{}; }
  static Mask non_negative(const V& x) { return Native(x) >= Native{}; }
  static Mask less(const V& a, const V& b) { return Native(a) < Native(b); }

  static V select(const Mask& mask, const V& a, const V& b) {
    return V(mask ? Native(a) : Native(b));
  }

  static V product_error(const V& a, const V& b, const V& p) { return at::vec::fmsub(a, b, p); }

  template <int Shift>
  static V shift_left(const V& x) {
    return V(Native(Mask(Native(x)) << Shift));
  }
#else
  using Mask = V;

  static Mask positive(const V& x) { return x > V(T(0)); }
  static Mask non_negative(const V& x) { return x >= V(T(0)); }
  static Mask less(const V& a, const V& b) { return a < b; }
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
    using Int = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
    using Ints = at::vec::Vectorized<Int>;
    return at::vec::cast<T, Int>(at::vec::cast<Int, T>(x) << Ints(Int(Shift)));
  }
#endif

  static V multiply_add(const V& a, const V& b, const V& c) { return at::vec::fmadd(a, b, c); }

  static V multiply_add_unless(const Mask& mask, const V& a, const V& b, const V& c) {
    return select(mask, c, multiply_add(a, b, c));
  }
};

/// beta in all lanes, or one in each. It holds x, not beta x, and so needs no care for the error of
/// a product that has overflowed.
template <typename T>
struct Rate<at::vec::Vectorized<T>> {
  using V = at::vec::Vectorized<T>;

  V beta;
  V size;
  V round;
  /// e^(beta x) has vanished or overflowed for every x below; `beyond` stands for them all.
  V lowest;
  V beyond;

  Product<V> times(const V& x) const {
    using R = Real<V>;
    const V held = R::select(R::less(x, lowest), beyond, x);
    const V value = beta * held;
    return {value, R::product_error(beta, held, value)};
  }
};

/// A channel's numbers as they are put into the lanes of vectors.
template <typename T>
struct Lane {
  T alpha;
  T beta;
  T size;
  T round;
  T lowest;
  T beyond;

  /// An infinite beta counts as a very large one, and with a beta below the normal numbers x = -inf
  /// counts as the lowest number, so that beta * beyond is finite.
  Lane(T alpha_, T beta_) {
    using Limits = std::numeric_limits<T>;
    using C = ExpConstants<T>;
    constexpr T kLargest = Limits::max() * Limits::epsilon();
    const auto channel =
        make_channel(alpha_, beta_ < -kLargest ? -kLargest : (beta_ > kLargest ? kLargest : beta_));
    alpha = channel.alpha;
    beta = channel.rate.beta;
    size = channel.rate.size;
    round = channel.rate.round;
    // With beta = 0, x = -inf is left to make the NaN of 0 * inf.
    lowest =
        beta == 0 ? -Limits::infinity() : at_least_lowest((beta < 0 ? C::kMax : C::kMin) / beta);
    beyond = beta < 0 ? at_least_lowest(C::kInfinite / beta) : lowest;
  }

 private:
  static T at_least_lowest(T x) { return std::max(x, std::numeric_limits<T>::lowest()); }
};

}  // namespace mpelu::math
