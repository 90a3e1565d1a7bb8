#include <ATen/core/dispatch/Dispatcher.h>
#include <mpelu/ops.h>

#include "ops/checks.h"

namespace mpelu {

std::tuple<at::Tensor, at::Tensor, at::Tensor> batch_norm_mpelu(
    const at::Tensor& input, const std::optional<at::Tensor>& weight,
    const std::optional<at::Tensor>& bias, const std::optional<at::Tensor>& running_mean,
    const std::optional<at::Tensor>& running_var, const at::Tensor& alpha,
    const std::optional<at::Tensor>& beta, bool training, double momentum, double eps) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("mpelu::batch_norm_mpelu", "")
                             .typed<decltype(batch_norm_mpelu)>();
  return op.call(input, as_optional(weight), as_optional(bias), as_optional(running_mean),
                 as_optional(running_var), alpha, as_optional(beta), training, momentum, eps);
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor> batch_norm_mpelu_backward(
    const at::Tensor& grad_output, const at::Tensor& input, const std::optional<at::Tensor>& weight,
    const std::optional<at::Tensor>& bias, const at::Tensor& save_mean,
    const at::Tensor& save_invstd, const at::Tensor& alpha, const std::optional<at::Tensor>& beta,
    bool training, double eps) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("mpelu::batch_norm_mpelu_backward", "")
                             .typed<decltype(batch_norm_mpelu_backward)>();
  return op.call(grad_output, input, as_optional(weight), as_optional(bias), save_mean, save_invstd,
                 alpha, as_optional(beta), training, eps);
}

}  // namespace mpelu
