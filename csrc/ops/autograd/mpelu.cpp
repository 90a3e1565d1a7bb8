#include <mpelu/ops.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "ops/autograd/transforms.h"
#include "ops/formula.h"
#include "ops/optional_tensor.h"

namespace mpelu {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::compute_requires_grad;
using torch::autograd::variable_list;
using Gradients = std::tuple<at::Tensor, at::Tensor, at::Tensor>;

/// Saves the input and the parameters, nothing else.
class MpeluFunction : public torch::autograd::Function<MpeluFunction> {
 public:
  static constexpr bool is_traceable = true;

  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& input, const at::Tensor& alpha,
                            const OptionalTensor& beta, int64_t dim) {
    const at::AutoDispatchBelowADInplaceOrView guard;
    ctx->save_for_backward({input, alpha, beta.value_or(at::Tensor())});
    ctx->saved_data["dim"] = dim;
    return mpelu(input, alpha, beta, dim);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grad_outputs) {
    const auto saved = ctx->get_saved_variables();
    const auto beta = as_optional(saved[2]);
    const auto [grad_input, grad_alpha, grad_beta] =
        mpelu_backward(grad_outputs[0], saved[0], saved[1], beta, ctx->saved_data["dim"].toInt());
    return {grad_input, grad_alpha, beta ? grad_beta : at::Tensor(), at::Tensor()};
  }
};

at::Tensor mpelu_autograd(const at::Tensor& input, const at::Tensor& alpha,
                          const OptionalTensor& beta, int64_t dim) {
  if (is_transformed(input, alpha, beta)) {
    return formula::mpelu(input, alpha, beta, dim);
  }
  if (compute_requires_grad(input, alpha, beta)) {
    return MpeluFunction::apply(input, alpha, beta, dim);
  }
  const at::AutoDispatchBelowADInplaceOrView guard;
  return mpelu(input, alpha, beta, dim);
}

at::Tensor& mpelu_autograd_(at::Tensor& input, const at::Tensor& alpha, const OptionalTensor& beta,
                            int64_t dim) {
  TORCH_CHECK(
      !compute_requires_grad(input, alpha, beta),
      "mpelu_: input, alpha or beta requires grad, but the gradient of MPELU cannot be told "
      "from its output; use mpelu() or torch.no_grad()");
  if (is_transformed(input, alpha, beta)) {
    return formula::mpelu_(input, alpha, beta, dim);
  }
  const at::AutoDispatchBelowAutograd guard;
  return mpelu_(input, alpha, beta, dim);
}

at::Tensor& mpelu_adinplaceorview_(at::Tensor& input, const at::Tensor& alpha,
                                   const OptionalTensor& beta, int64_t dim) {
  {
    const at::AutoDispatchBelowADInplaceOrView guard;
    mpelu_(input, alpha, beta, dim);
  }
  torch::autograd::impl::bump_version(input);
  return input;
}

Gradients mpelu_backward_autograd(const at::Tensor& grad_output, const at::Tensor& input,
                                  const at::Tensor& alpha, const OptionalTensor& beta,
                                  int64_t dim) {
  if (is_transformed(grad_output, input, alpha, beta) ||
      compute_requires_grad(grad_output, input, alpha, beta)) {
    return formula::mpelu_backward(grad_output, input, alpha, beta, dim);
  }
  const at::AutoDispatchBelowADInplaceOrView guard;
  return mpelu_backward(grad_output, input, alpha, beta, dim);
}

}  // namespace

TORCH_LIBRARY_IMPL(mpelu, Autograd, m) {
  m.impl("mpelu", &mpelu_autograd);
  m.impl("mpelu_", &mpelu_autograd_);
  m.impl("mpelu_backward", &mpelu_backward_autograd);
}

TORCH_LIBRARY_IMPL(mpelu, ADInplaceOrView, m) { m.impl("mpelu_", &mpelu_adinplaceorview_); }

}  // namespace mpelu
