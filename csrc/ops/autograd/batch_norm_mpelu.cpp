#include <mpelu/ops.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "ops/autograd/transforms.h"
#include "ops/evaluation.h"
#include "ops/formula.h"
#include "ops/optional_tensor.h"

namespace mpelu {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::compute_requires_grad;
using torch::autograd::variable_list;
using Outputs = std::tuple<at::Tensor, at::Tensor, at::Tensor>;
using Gradients = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

/// What a batch norm puts out beside its output.
struct Statistics {
  at::Tensor mean;
  at::Tensor invstd;
};

/// Saves the input, of all tensors of its size; the rest has an element for each channel. The
/// statistics do not go through autograd: compiled autograd refuses functions that mark an output
/// as non-differentiable.
class BatchNormMpeluFunction : public torch::autograd::Function<BatchNormMpeluFunction> {
 public:
  static constexpr bool is_traceable = true;

  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& input,
                            const OptionalTensor& weight, const OptionalTensor& bias,
                            const OptionalTensor& running_mean, const OptionalTensor& running_var,
                            const at::Tensor& alpha, const OptionalTensor& beta, bool training,
                            double momentum, double eps, Statistics* statistics) {
    const at::AutoDispatchBelowAutograd guard;
    const auto [output, save_mean, save_invstd] = batch_norm_mpelu(
        input, weight, bias, running_mean, running_var, alpha, beta, training, momentum, eps);
    ctx->save_for_backward({input, weight.value_or(at::Tensor()), bias.value_or(at::Tensor()),
                            save_mean, save_invstd, alpha, beta.value_or(at::Tensor())});
    ctx->saved_data["training"] = training;
    ctx->saved_data["eps"] = eps;
    *statistics = {save_mean, save_invstd};
    return output;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grad_outputs) {
    const auto saved = ctx->get_saved_variables();
    const auto weight = as_optional(saved[1]);
    const auto bias = as_optional(saved[2]);
    const auto beta = as_optional(saved[6]);
    const auto [grad_input, grad_weight, grad_bias, grad_alpha, grad_beta] =
        batch_norm_mpelu_backward(grad_outputs[0], saved[0], weight, bias, saved[3], saved[4],
                                  saved[5], beta, ctx->saved_data["training"].toBool(),
                                  ctx->saved_data["eps"].toDouble());
    const at::Tensor none;
    return {grad_input,
            weight ? grad_weight : none,
            bias ? grad_bias : none,
            none,
            none,
            grad_alpha,
            beta ? grad_beta : none,
            none,
            none,
            none,
            none};
  }
};

Outputs batch_norm_mpelu_autograd(const at::Tensor& input, const OptionalTensor& weight,
                                  const OptionalTensor& bias, const OptionalTensor& running_mean,
                                  const OptionalTensor& running_var, const at::Tensor& alpha,
                                  const OptionalTensor& beta, bool training, double momentum,
                                  double eps) {
  TORCH_CHECK(!training || !compute_requires_grad(running_mean, running_var),
              "batch_norm_mpelu: expected running_mean and running_var, which are written where "
              "training is True, not to require grad");
  if (is_transformed(input, weight, bias, alpha, beta)) {
    return formula::batch_norm_mpelu(input, weight, bias, running_mean, running_var, alpha, beta,
                                     training, momentum, eps);
  }
  if (compute_requires_grad(input, weight, bias, alpha, beta)) {
    Statistics statistics;
    const auto output =
        BatchNormMpeluFunction::apply(input, weight, bias, running_mean, running_var, alpha, beta,
                                      training, momentum, eps, &statistics);
    return {output, statistics.mean, statistics.invstd};
  }
  const at::AutoDispatchBelowAutograd guard;
  return batch_norm_mpelu(input, weight, bias, running_mean, running_var, alpha, beta, training,
                          momentum, eps);
}

Outputs batch_norm_mpelu_adinplaceorview(const at::Tensor& input, const OptionalTensor& weight,
                                         const OptionalTensor& bias,
                                         const OptionalTensor& running_mean,
                                         const OptionalTensor& running_var, const at::Tensor& alpha,
                                         const OptionalTensor& beta, bool training, double momentum,
                                         double eps) {
  const auto outputs = [&] {
    const at::AutoDispatchBelowADInplaceOrView guard;
    return batch_norm_mpelu(input, weight, bias, running_mean, running_var, alpha, beta, training,
                            momentum, eps);
  }();
  for (const auto* running : {&running_mean, &running_var}) {
    if (training && running->has_value()) {
      torch::autograd::impl::bump_version(**running);
    }
  }
  return outputs;
}

Gradients batch_norm_mpelu_backward_autograd(
    const at::Tensor& grad_output, const at::Tensor& input, const OptionalTensor& weight,
    const OptionalTensor& bias, const at::Tensor& save_mean, const at::Tensor& save_invstd,
    const at::Tensor& alpha, const OptionalTensor& beta, bool training, double eps) {
  if (is_transformed(grad_output, input, weight, bias, alpha, beta) ||
      compute_requires_grad(grad_output, input, weight, bias, alpha, beta)) {
    return formula::batch_norm_mpelu_backward(grad_output, input, weight, bias, save_mean,
                                              save_invstd, alpha, beta, training, eps);
  }
  const at::AutoDispatchBelowADInplaceOrView guard;
  return batch_norm_mpelu_backward(grad_output, input, weight, bias, save_mean, save_invstd, alpha,
                                   beta, training, eps);
}

}  // namespace

TORCH_LIBRARY_IMPL(mpelu, Autograd, m) {
  m.impl("batch_norm_mpelu", &batch_norm_mpelu_autograd);
  m.impl("batch_norm_mpelu_evaluation", &in_evaluation<&batch_norm_mpelu_autograd>);
  m.impl("batch_norm_mpelu_backward", &batch_norm_mpelu_backward_autograd);
}

TORCH_LIBRARY_IMPL(mpelu, ADInplaceOrView, m) {
  m.impl("batch_norm_mpelu", &batch_norm_mpelu_adinplaceorview);
}

}  // namespace mpelu
