#include <ATen/Dispatch.h>

#include "ops/cpu/kernels/partition.h"
#include "ops/cpu/kernels/span.h"
#include "ops/cpu/kernels/stubs.h"

// ELU's forward is MPELU's with parameters that are numbers; its backward has no sums.
namespace mpelu::cpu {
namespace {

template <typename T>
struct FromInput {
  at::vec::Vectorized<T> alpha;

  template <typename V>
  math::Gradient<V> operator()(const V& grad_output, const V& x, int64_t /*i*/) const {
    return math::backward(grad_output, x, alpha, V(T(1)));
  }
};

template <typename T>
struct FromOutput {
  at::vec::Vectorized<T> alpha;

  template <typename V>
  math::Gradient<V> operator()(const V& grad_output, const V& y, int64_t /*i*/) const {
    return {math::elu_backward_from_output(grad_output, y, alpha), V(T(0)), V(T(0))};
  }
};

template <typename scalar_t, typename GradientAt>
void elu_backward(const at::TensorBase& grad_input, const at::TensorBase& grad_output,
                  const at::TensorBase& input_or_output, const GradientAt& gradient) {
  auto* const grad = grad_input.data_ptr<scalar_t>();
  const auto* const g = grad_output.const_data_ptr<scalar_t>();
  const auto* const x = input_or_output.const_data_ptr<scalar_t>();
  const Segments segments({1, 1, input_or_output.numel()});
  parallel_units(segments.count, segments.elements_per_unit(), [&](int64_t begin, int64_t end) {
    NoSums sums;
    for (int64_t unit = begin; unit < end; ++unit) {
      const auto [channel, offset, size] = segments[unit];
      backward_span(grad + offset, g + offset, x + offset, size, gradient, sums);
    }
  });
}

void elu_backward_kernel(const at::TensorBase& grad_input, const at::TensorBase& grad_output,
                         const at::TensorBase& input_or_output, double alpha, bool is_result) {
  AT_DISPATCH_FLOATING_TYPES_AND2(
      at::kBFloat16, at::kHalf, input_or_output.scalar_type(), "elu_backward_cpu", [&] {
        using T = at::opmath_type<scalar_t>;
        const at::vec::Vectorized<T> a(static_cast<T>(alpha));
        if (is_result) {
          elu_backward<scalar_t>(grad_input, grad_output, input_or_output, FromOutput<T>{a});
        } else {
          elu_backward<scalar_t>(grad_input, grad_output, input_or_output, FromInput<T>{a});
        }
      });
}

}  // namespace
}  // namespace mpelu::cpu

namespace at::native {

ALSO_REGISTER_AVX512_DISPATCH(mpelu_elu_backward_stub, &mpelu::cpu::elu_backward_kernel)

}  // namespace at::native
