#include <ATen/Dispatch.h>

#include <vector>

#include "ops/cpu/kernels/build.h"
#include "ops/cpu/kernels/map_forward.h"

namespace mpelu::cpu {
namespace {

template <typename T>
std::vector<math::Lane<T>> make_lanes(const ActivationParameters& parameters, int64_t channels) {
  return lanes_of_channels(channels, [&](int64_t c) {
    const double beta = parameters.beta == nullptr ? 1 : parameters.beta[c];
    return math::Lane<T>(static_cast<T>(parameters.alpha[c]), static_cast<T>(beta));
  });
}

template <typename T>
std::vector<math::UnitLane<T>> make_unit_lanes(const double* alpha, int64_t channels) {
  return lanes_of_channels(channels,
                           [&](int64_t c) { return math::UnitLane<T>{static_cast<T>(alpha[c])}; });
}

template <typename scalar_t>
void forward(scalar_t* output, const scalar_t* input, const ActivationParameters& parameters,
             const Layout& layout) {
  using T = at::opmath_type<scalar_t>;
  const auto map = [&](const auto& lanes) {
    map_forward<math::kPrecisionOf<scalar_t, T>>(output, input, lanes, layout);
  };
  if (parameters.beta == nullptr) {  // ELU and SPELU
    map(make_unit_lanes<T>(parameters.alpha, layout.channels));
  } else {
    map(make_lanes<T>(parameters, layout.channels));
  }
}

template <typename scalar_t>
void backward(scalar_t* grad_input, const ActivationGradients& gradients,
              const scalar_t* grad_output, const scalar_t* input,
              const ActivationParameters& parameters, const Layout& layout) {
  using T = at::opmath_type<scalar_t>;
  using V = at::vec::Vectorized<T>;
  const auto lanes = make_lanes<T>(parameters, layout.channels);
  const auto totals =
      with_parameter_range(lanes, [&]<ParameterRange kRange>(RangeConstant<kRange>) {
        return sum_runs<2, scalar_t>(
            layout, lanes, outputs_for(grad_input, input, layout),
            [&](const auto& run, const auto& visit) MPELU_ALWAYS_INLINE {
              map_span(run, run.of(grad_input), run.of(grad_output), run.of(input), visit,
                       [](const V& g, const V& x, int64_t valid, const auto& channel, auto& sums)
                           MPELU_ALWAYS_INLINE {
                             math::Sums<V> added{sums[0], sums[1]};
                             const V grad = math::backward<kRange>(g, x, channel, added);
                             // Of the zeros after the last element a NaN parameter makes NaN.
                             sums = {or_else(added.alpha, valid, sums[0]),
                                     or_else(added.beta, valid, sums[1])};
                             return grad;
                           });
            });
      });
  for (int64_t channel = 0; channel < layout.channels; ++channel) {
    const auto [of_alpha, of_beta] = math::parameter_gradients(
        math::Sums<double>{totals[channel][0], totals[channel][1]}, parameters.alpha[channel]);
    gradients.alpha[channel] = of_alpha;
    gradients.beta[channel] = of_beta;
  }
}

void mpelu_kernel(const at::TensorBase& output, const at::TensorBase& input,
                  const ActivationParameters& parameters, const Layout& layout) {
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, input.scalar_type(), "mpelu_cpu", [&] {
    forward(output.data_ptr<scalar_t>(), input.const_data_ptr<scalar_t>(), parameters, layout);
  });
}

void mpelu_backward_kernel(const at::TensorBase& grad_input, const ActivationGradients& gradients,
                           const at::TensorBase& grad_output, const at::TensorBase& input,
                           const ActivationParameters& parameters, const Layout& layout) {
  AT_DISPATCH_FLOATING_TYPES_AND2(
      at::kBFloat16, at::kHalf, input.scalar_type(), "mpelu_backward_cpu", [&] {
        backward(grad_input.data_ptr<scalar_t>(), gradients, grad_output.const_data_ptr<scalar_t>(),
                 input.const_data_ptr<scalar_t>(), parameters, layout);
      });
}

const Build mpelu_build(mpelu_stub, mpelu_kernel);
const Build mpelu_backward_build(mpelu_backward_stub, mpelu_backward_kernel);

}  // namespace
}  // namespace mpelu::cpu
