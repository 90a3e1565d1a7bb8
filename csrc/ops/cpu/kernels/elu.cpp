#include <ATen/Dispatch.h>

#include "ops/cpu/kernels/build.h"
#include "ops/cpu/kernels/partition.h"
#include "ops/cpu/kernels/span.h"

// ELU's forward is MPELU's with parameters that are numbers; its backward has no sums.
namespace mpelu::cpu {
namespace {

template <typename scalar_t, typename Channel, typename Gradient>
void elu_backward(const at::TensorBase& grad_input, const at::TensorBase& grad_output,
                  const at::TensorBase& input_or_output, const Channel& channel,
                  const Gradient& gradient) {
  auto* const grad = grad_input.data_ptr<scalar_t>();
  const auto* const g = grad_output.const_data_ptr<scalar_t>();
  const auto* const x = input_or_output.const_data_ptr<scalar_t>();
  const Layout layout{1, 1, input_or_output.numel()};
  const Segments segments(layout, sizeof(scalar_t));
  const Outputs outputs = outputs_for(grad, x, layout);
  for_each_in_parallel(segments, [&](const Segments::Unit& unit) {
    const Run<1> run = segments.run(unit, outputs);
    map_span(
        run, run.of(grad), run.of(g), run.of(x),
        [channel](int64_t /*i*/, const auto& element) MPELU_ALWAYS_INLINE { element(channel); },
        gradient);
  });
}

void elu_backward_kernel(const at::TensorBase& grad_input, const at::TensorBase& grad_output,
                         const at::TensorBase& input_or_output, double alpha, bool is_result) {
  AT_DISPATCH_FLOATING_TYPES_AND2(
      at::kBFloat16, at::kHalf, input_or_output.scalar_type(), "elu_backward_cpu", [&] {
        using T = at::opmath_type<scalar_t>;
        using V = at::vec::Vectorized<T>;
        if (is_result) {
          elu_backward<scalar_t>(
              grad_input, grad_output, input_or_output, V(static_cast<T>(alpha)),
              [](const V& g, const V& y, int64_t /*valid*/, const V& a)
                  MPELU_ALWAYS_INLINE { return math::elu_backward_from_output(g, y, a); });
        } else {
          elu_backward<scalar_t>(grad_input, grad_output, input_or_output,
                                 broadcast(math::UnitLane<T>{static_cast<T>(alpha)}),
                                 [](const V& g, const V& x, int64_t /*valid*/, const auto& channel)
                                     MPELU_ALWAYS_INLINE {
                                       math::Sums<V> unused{V(T(0)), V(T(0))};
                                       return math::backward<ParameterRange::kDecaying>(
                                           g, x, channel, unused);
                                     });
        }
      });
}

const Build elu_backward_build(elu_backward_stub, elu_backward_kernel);

}  // namespace
}  // namespace mpelu::cpu
