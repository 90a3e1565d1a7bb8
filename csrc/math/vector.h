#pragma once

// For files that are compiled once per CPU capability only: Vectorized<T> is another type in each.
#include <ATen/cpu/vec/functional.h>
#include <ATen/cpu/vec/vec.h>

#include "math/real.h"

namespace mpelu::math {

template <typename T>
struct Real<at::vec::Vectorized<T>> {
  using Scalar = T;
  using V = at::vec::Vectorized<T>;
  using Mask = V;

  static V select(const Mask& mask, const V& a, const V& b) { return V::blendv(b, a, mask); }
  static Mask positive(const V& x) { return x > V(T(0)); }
  static Mask non_negative(const V& x) { return x >= V(T(0)); }
  static Mask equal(const V& a, const V& b) { return a == b; }
  static V multiply_add(const V& a, const V& b, const V& c) { return at::vec::fmadd(a, b, c); }
  static V clamp(const V& x, T low, T high) { return at::vec::clamp(x, V(low), V(high)); }

  static V product_error(const V& a, const V& b, const V& p) {
#if defined(CPU_CAPABILITY_AVX2) || defined(CPU_CAPABILITY_AVX512)
    return at::vec::fmsub(a, b, p);
#else
    // at::vec's own multiply-add rounds twice where the instruction set has no fused one.
    __at_align__ T x[V::size()], y[V::size()], z[V::size()];
    a.store(x);
    b.store(y);
    p.store(z);
    for (int i = 0; i < V::size(); ++i) {
      z[i] = std::fma(x[i], y[i], -z[i]);
    }
    return V::loadu(z);
#endif
  }

  template <int Shift, typename Int>
  static V shift_bits(const V& x, Int offset) {
    using Ints = at::vec::Vectorized<Int>;
    const Ints bits = at::vec::cast<Int, T>(x);
    return at::vec::cast<T, Int>((bits << Ints(Int(Shift))) + Ints(offset));
  }
};

}  // namespace mpelu::math
