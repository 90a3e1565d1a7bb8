#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

// For the innermost functions, which compilers would not inline at their size. It also stands after
// the parameters of a lambda.
#define MPELU_ALWAYS_INLINE __attribute__((always_inline))

#if defined(__CUDACC__)
#define MPELU_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define MPELU_HOST_DEVICE inline MPELU_ALWAYS_INLINE
#endif

namespace mpelu::math {

/// 2^exponent, an integer: `value` is it where that is a normal number, and 0 just below.
template <typename V>
struct PowerOfTwo {
  V exponent;
  V value;
};

/// The few operations that the formulas need of a number type V and that C++ does not spell the
/// same way for scalars and SIMD vectors. This primary template is for float and double, on the
/// host and on the device; vector.h specialises it for at::vec::Vectorized.
template <typename V>
struct Real {
  using Scalar = V;
  using Mask = bool;

  /// Whether a shorter chain of operations that wait for each other is worth the registers it
  /// takes. On a device other threads fill the wait.
  static constexpr bool kShortChains = false;

  /// Whether an operation under a mask costs as little as without one. Elsewhere it takes a select.
  static constexpr bool kFreeMasks = true;

  /// x <= 0, or x is NaN.
  static MPELU_HOST_DEVICE Mask not_positive(V x) { return !(x > V(0)); }
  /// x < 0, or x is NaN.
  static MPELU_HOST_DEVICE Mask negative(V x) { return !(x >= V(0)); }
  static MPELU_HOST_DEVICE Mask equal(V a, V b) { return a == b; }

  /// False only where no lane is set.
  static MPELU_HOST_DEVICE bool any(Mask mask) { return mask; }

  /// x clamped; NaN stays NaN.
  static MPELU_HOST_DEVICE V at_least(V x, V limit) { return x < limit ? limit : x; }
  static MPELU_HOST_DEVICE V at_most(V x, V limit) { return x > limit ? limit : x; }

  /// mask ? a : b
  static MPELU_HOST_DEVICE V select(Mask mask, V a, V b) { return mask ? a : b; }

  /// a * b + c
  static MPELU_HOST_DEVICE V multiply_add(V a, V b, V c) { return a * b + c; }

  /// mask ? a * b + c : c
  static MPELU_HOST_DEVICE V multiply_add_where(Mask mask, V a, V b, V c) {
    return mask ? a * b + c : c;
  }

  /// x * 2^exponent. Where the power is no normal number it may be 0 instead.
  static MPELU_HOST_DEVICE V scaled(V x, const PowerOfTwo<V>& power) { return x * power.value; }

  /// The rounding error of the product p = a * b: exactly a * b - p.
  static MPELU_HOST_DEVICE V product_error(V a, V b, V p) { return std::fma(a, b, -p); }

  /// The number whose bits are those of x, moved to the left by Shift.
  template <int Shift>
  static MPELU_HOST_DEVICE V shift_left(V x) {
    std::conditional_t<sizeof(V) == 4, uint32_t, uint64_t> bits;
    std::memcpy(&bits, &x, sizeof(V));
    bits <<= Shift;
    std::memcpy(&x, &bits, sizeof(V));
    return x;
  }
};

/// mask ? first + a * b + ... : otherwise, with a product for each call of add_product().
template <typename V>
class SumWhere {
  using R = Real<V>;
  using Mask = typename R::Mask;

 public:
  MPELU_HOST_DEVICE SumWhere(Mask mask, V first, V otherwise)
      : mask_(mask),
        otherwise_(otherwise),
        sum_(R::kFreeMasks ? R::select(mask, first, otherwise) : first) {}

  MPELU_HOST_DEVICE void add_product(V a, V b) {
    sum_ = R::kFreeMasks ? R::multiply_add_where(mask_, a, b, sum_) : R::multiply_add(a, b, sum_);
  }

  MPELU_HOST_DEVICE V value() const {
    return R::kFreeMasks ? sum_ : R::select(mask_, sum_, otherwise_);
  }

 private:
  Mask mask_;
  V otherwise_;
  V sum_;
};

}  // namespace mpelu::math
