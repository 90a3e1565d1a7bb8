#include <ATen/OpMathType.h>
#include <ATen/ops/batch_norm_elemt.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/native_batch_norm.h>
#include <ATen/ops/native_batch_norm_backward.h>
#include <mpelu/ops.h>
#include <torch/library.h>

#include "ops/checks.h"

// On CUDA the pair is torch's batch norm and this library's activation, which is applied in place:
// no more is kept for the backward than on the CPU, but the memory is passed over more often.
namespace mpelu {
namespace {

using OptionalTensor = std::optional<at::Tensor>;

std::tuple<at::Tensor, at::Tensor, at::Tensor> batch_norm_mpelu_cuda(
    const at::Tensor& input, const OptionalTensor& weight, const OptionalTensor& bias,
    const OptionalTensor& running_mean, const OptionalTensor& running_var, const at::Tensor& alpha,
    const OptionalTensor& beta, bool training, double momentum, double eps) {
  check_batch_norm("batch_norm_mpelu", input, weight, bias, running_mean, running_var, alpha, beta,
                   training);
  auto [normalized, mean, invstd] = at::native_batch_norm(input, weight, bias, running_mean,
                                                          running_var, training, momentum, eps);
  const auto dtype = at::toOpMathType(input.scalar_type());
  if (!training) {
    mean = running_mean->to(dtype, /*non_blocking=*/false, /*copy=*/true);
    invstd = running_var->to(dtype).add(eps).rsqrt_();
  }
  return {mpelu_(normalized, alpha, beta), mean.to(dtype), invstd.to(dtype)};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>
batch_norm_mpelu_backward_cuda(const at::Tensor& grad_output, const at::Tensor& input,
                               const OptionalTensor& weight, const OptionalTensor& bias,
                               const at::Tensor& save_mean, const at::Tensor& save_invstd,
                               const at::Tensor& alpha, const OptionalTensor& beta, bool training,
                               double eps) {
  check_batch_norm_backward("batch_norm_mpelu_backward", grad_output, input, weight, bias,
                            save_mean, save_invstd, alpha, beta);
  const auto normalized = at::batch_norm_elemt(input, weight, bias, save_mean, save_invstd, eps);
  const auto [grad, grad_alpha, grad_beta] = mpelu_backward(grad_output, normalized, alpha, beta);
  // In evaluation torch wants the running statistics: those whose 1 / sqrt(var + eps) was saved.
  const auto running_var = save_invstd.pow(-2).sub_(eps);
  const auto [grad_input, grad_weight, grad_bias] = at::native_batch_norm_backward(
      grad, input, weight, save_mean, running_var, save_mean, save_invstd, training, eps,
      {true, weight.has_value(), bias.has_value()});
  const auto or_empty = [&](const OptionalTensor& parameter, const at::Tensor& gradient) {
    return parameter ? gradient.to(parameter->scalar_type()) : at::empty({0}, alpha.options());
  };
  return {grad_input, or_empty(weight, grad_weight), or_empty(bias, grad_bias), grad_alpha,
          grad_beta};
}

}  // namespace

TORCH_LIBRARY_IMPL(mpelu, CUDA, m) {
  m.impl("batch_norm_mpelu", &batch_norm_mpelu_cuda);
  m.impl("batch_norm_mpelu_backward", &batch_norm_mpelu_backward_cuda);
}

}  // namespace mpelu
