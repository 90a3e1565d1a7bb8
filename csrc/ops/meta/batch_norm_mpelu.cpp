#include <ATen/OpMathType.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include "ops/checks.h"
#include "ops/evaluation.h"

namespace mpelu {
namespace {

std::tuple<at::Tensor, at::Tensor, at::Tensor> batch_norm_mpelu_meta(
    const at::Tensor& input, const OptionalTensor& weight, const OptionalTensor& bias,
    const OptionalTensor& running_mean, const OptionalTensor& running_var, const at::Tensor& alpha,
    const OptionalTensor& beta, bool training, double /*momentum*/, double eps) {
  check_batch_norm_mpelu(input, weight, bias, running_mean, running_var, alpha, beta, training,
                         eps);
  const auto statistics = [&] {
    return at::empty_symint({input.sym_size(1)},
                            input.options().dtype(at::toOpMathType(input.scalar_type())));
  };
  return {at::empty_like(input), statistics(), statistics()};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>
batch_norm_mpelu_backward_meta(const at::Tensor& grad_output, const at::Tensor& input,
                               const OptionalTensor& weight, const OptionalTensor& bias,
                               const at::Tensor& save_mean, const at::Tensor& save_invstd,
                               const at::Tensor& alpha, const OptionalTensor& beta,
                               bool /*training*/, double /*eps*/) {
  check_batch_norm_mpelu_backward(grad_output, input, weight, bias, save_mean, save_invstd, alpha,
                                  beta);
  const auto like = [&](const OptionalTensor& parameter) {
    return parameter ? at::empty_like(*parameter) : no_gradient(alpha);
  };
  return {at::empty_like(input), like(weight), like(bias), at::empty_like(alpha), like(beta)};
}

}  // namespace

TORCH_LIBRARY_IMPL(mpelu, Meta, m) {
  m.impl("batch_norm_mpelu", &batch_norm_mpelu_meta);
  m.impl("batch_norm_mpelu_evaluation", &in_evaluation<&batch_norm_mpelu_meta>);
  m.impl("batch_norm_mpelu_backward", &batch_norm_mpelu_backward_meta);
}

}  // namespace mpelu
