#include <ATen/Functions.h>
#include <mpelu/ops.h>
#include <torch/csrc/autograd/VariableTypeUtils.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "ops/autograd/transforms.h"
#include "ops/checks.h"
#include "ops/formula.h"

namespace mpelu {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::compute_requires_grad;
using torch::autograd::variable_list;

/// ELU, in place or not. What is saved for the backward is the input, or in place the output. That
/// is another tensor of the input's memory and version, whose history the input is then given:
/// compiled autograd refuses functions that mark an input as written.
template <bool kInplace>
class EluFunction : public torch::autograd::Function<EluFunction<kInplace>> {
 public:
  static constexpr bool is_traceable = true;

  static at::Tensor forward(AutogradContext* ctx, at::Tensor input, double alpha) {
    ctx->saved_data["alpha"] = alpha;
    if constexpr (kInplace) {
      const at::AutoDispatchBelowAutograd guard;
      elu_(input, alpha);
      const at::Tensor output = input.tensor_data();
      torch::autograd::impl::set_version_counter(output,
                                                 torch::autograd::impl::version_counter(input));
      ctx->save_for_backward({output});
      return output;
    } else {
      const at::AutoDispatchBelowADInplaceOrView guard;
      ctx->save_for_backward({input});
      return elu(input, alpha);
    }
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grad_outputs) {
    const auto saved = ctx->get_saved_variables();
    const double alpha = ctx->saved_data["alpha"].toDouble();
    return {elu_backward(grad_outputs[0], saved[0], alpha, kInplace), at::Tensor()};
  }
};

at::Tensor elu_autograd(const at::Tensor& input, double alpha) {
  if (is_transformed(input)) {
    return formula::elu(input, alpha);
  }
  if (compute_requires_grad(input)) {
    return EluFunction</*kInplace=*/false>::apply(input, alpha);
  }
  const at::AutoDispatchBelowADInplaceOrView guard;
  return elu(input, alpha);
}

at::Tensor& elu_autograd_(at::Tensor& input, double alpha) {
  if (is_transformed(input)) {
    return formula::elu_(input, alpha);
  }
  if (compute_requires_grad(input)) {
    torch::autograd::check_inplace(input, /*requires_grad=*/true);  // while nothing is written yet
    if (input.is_view()) {
      // Its history is that of its base, this function among it: saved here it would keep itself.
      check_elu_inplace(input, alpha);
      return input.copy_(elu(input.clone(), alpha));
    }
    const auto output = EluFunction</*kInplace=*/true>::apply(input, alpha);
    torch::autograd::impl::rebase_history(input, torch::autograd::impl::gradient_edge(output));
    return input;
  }
  const at::AutoDispatchBelowAutograd guard;
  return elu_(input, alpha);
}

at::Tensor& elu_adinplaceorview_(at::Tensor& input, double alpha) {
  {
    const at::AutoDispatchBelowADInplaceOrView guard;
    elu_(input, alpha);
  }
  torch::autograd::impl::bump_version(input);
  return input;
}

at::Tensor elu_backward_autograd(const at::Tensor& grad_output, const at::Tensor& input_or_output,
                                 double alpha, bool is_result) {
  if (is_transformed(grad_output, input_or_output) ||
      compute_requires_grad(grad_output, input_or_output)) {
    return formula::elu_backward(grad_output, input_or_output, alpha, is_result);
  }
  const at::AutoDispatchBelowADInplaceOrView guard;
  return elu_backward(grad_output, input_or_output, alpha, is_result);
}

}  // namespace

TORCH_LIBRARY_IMPL(mpelu, Autograd, m) {
  m.impl("elu", &elu_autograd);
  m.impl("elu_", &elu_autograd_);
  m.impl("elu_backward", &elu_backward_autograd);
}

TORCH_LIBRARY_IMPL(mpelu, ADInplaceOrView, m) { m.impl("elu_", &elu_adinplaceorview_); }

}  // namespace mpelu
