#include <mpelu/ops.h>

#include <tuple>

#include "ops/checks.h"
#include "ops/find_operator.h"
#include "ops/optional_tensor.h"

namespace mpelu {
namespace {

using Outputs = std::tuple<at::Tensor, at::Tensor, at::Tensor>;
using Evaluation = Outputs(const at::Tensor&, const OptionalTensor&, const OptionalTensor&,
                           const at::Tensor&, const at::Tensor&, const at::Tensor&,
                           const OptionalTensor&, double);

}  // namespace

std::tuple<at::Tensor, at::Tensor, at::Tensor> batch_norm_mpelu(
    const at::Tensor& input, const OptionalTensor& weight, const OptionalTensor& bias,
    const OptionalTensor& running_mean, const OptionalTensor& running_var, const at::Tensor& alpha,
    const OptionalTensor& beta, bool training, double momentum, double eps) {
  check_defined("batch_norm_mpelu", input, "input");
  check_defined("batch_norm_mpelu", alpha, "alpha");
  const auto mean = as_optional(running_mean);
  const auto var = as_optional(running_var);
  if (!training && mean && var) {
    static const auto op = find_operator<Evaluation>("mpelu::batch_norm_mpelu_evaluation");
    return op.call(input, as_optional(weight), as_optional(bias), *mean, *var, alpha,
                   as_optional(beta), eps);
  }
  static const auto op = find_operator<decltype(batch_norm_mpelu)>("mpelu::batch_norm_mpelu");
  return op.call(input, as_optional(weight), as_optional(bias), mean, var, alpha, as_optional(beta),
                 training, momentum, eps);
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor> batch_norm_mpelu_backward(
    const at::Tensor& grad_output, const at::Tensor& input, const OptionalTensor& weight,
    const OptionalTensor& bias, const at::Tensor& save_mean, const at::Tensor& save_invstd,
    const at::Tensor& alpha, const OptionalTensor& beta, bool training, double eps) {
  check_defined("batch_norm_mpelu_backward", grad_output, "grad_output");
  check_defined("batch_norm_mpelu_backward", input, "input");
  check_defined("batch_norm_mpelu_backward", save_mean, "save_mean");
  check_defined("batch_norm_mpelu_backward", save_invstd, "save_invstd");
  check_defined("batch_norm_mpelu_backward", alpha, "alpha");
  static const auto op =
      find_operator<decltype(batch_norm_mpelu_backward)>("mpelu::batch_norm_mpelu_backward");
  return op.call(grad_output, input, as_optional(weight), as_optional(bias), save_mean, save_invstd,
                 alpha, as_optional(beta), training, eps);
}

}  // namespace mpelu
