#include "ops/formula.h"

#include <ATen/ATen.h>
#include <ATen/OpMathType.h>

#include "ops/checks.h"

namespace mpelu::formula {
namespace {

at::Tensor to_opmath(const at::Tensor& tensor, const at::Tensor& input) {
  return tensor.to(at::toOpMathType(input.scalar_type()));
}

/// parameter in the dtype of the arithmetic and in a shape that broadcasts along dim of input.
at::Tensor broadcastable(const at::Tensor& parameter, const at::Tensor& input, int64_t dim) {
  const auto converted = to_opmath(parameter, input);
  if (parameter.sym_numel() == 1) {
    return converted.reshape({});
  }
  std::vector<c10::SymInt> shape(input.dim(), 1);
  shape[dim] = parameter.sym_numel();
  return converted.reshape_symint(shape);
}

/// The gradient of a parameter: the sum of all elements' contributions to it.
at::Tensor reduced(const at::Tensor& contributions, const at::Tensor& parameter, int64_t dim) {
  at::Tensor sum = contributions;
  if (parameter.sym_numel() == 1) {
    sum = contributions.sum();
  } else if (contributions.dim() > 1) {
    std::vector<int64_t> others;
    for (int64_t d = 0; d < contributions.dim(); ++d) {
      if (d != dim) {
        others.push_back(d);
      }
    }
    sum = contributions.sum(others);
  }
  return sum.reshape_symint(parameter.sym_sizes()).to(parameter.scalar_type());
}

/// x where it is not positive, else zero. Masking before the exponential keeps its derivative
/// finite where it is not wanted: 0 * inf would be NaN.
at::Tensor negative_part(const at::Tensor& x, const at::Tensor& positive) {
  return at::where(positive, 0.0, x);
}

}  // namespace

at::Tensor elu(const at::Tensor& input, double alpha) {
  check_input("elu", input);
  const auto x = to_opmath(input, input);
  const auto positive = x > 0;
  const auto m = at::expm1(negative_part(x, positive));
  return at::where(positive, x, alpha * m).to(input.scalar_type());
}

at::Tensor& elu_(at::Tensor& input, double alpha) {
  check_elu_alpha_not_negative("elu_", alpha);
  return input.copy_(elu(input, alpha));
}

at::Tensor elu_backward(const at::Tensor& grad_output, const at::Tensor& input_or_output,
                        double alpha, bool is_result) {
  check_input("elu_backward", input_or_output, "input_or_output");
  check_grad_output("elu_backward", grad_output, input_or_output, "input_or_output");
  const auto g = to_opmath(grad_output, input_or_output);
  const auto x = to_opmath(input_or_output, input_or_output);
  const auto positive = x > 0;
  const auto n = negative_part(x, positive);
  const auto slope = is_result ? n + alpha : alpha * at::exp(n);
  return at::where(positive, g, g * slope).to(input_or_output.scalar_type());
}

at::Tensor mpelu(const at::Tensor& input, const at::Tensor& alpha,
                 const std::optional<at::Tensor>& beta, int64_t dim) {
  check_parameters("mpelu", input, alpha, beta, dim);
  const auto channels = channel_dim("mpelu", input, dim);
  const auto x = to_opmath(input, input);
  const auto positive = x > 0;
  const auto n = negative_part(x, positive);
  const auto m = at::expm1(beta ? broadcastable(*beta, input, channels) * n : n);
  const auto a = broadcastable(alpha, input, channels);
  return at::where(positive, x, a * m).to(input.scalar_type());
}

at::Tensor& mpelu_(at::Tensor& input, const at::Tensor& alpha,
                   const std::optional<at::Tensor>& beta, int64_t dim) {
  return input.copy_(mpelu(input, alpha, beta, dim));
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> mpelu_backward(const at::Tensor& grad_output,
                                                              const at::Tensor& input,
                                                              const at::Tensor& alpha,
                                                              const std::optional<at::Tensor>& beta,
                                                              int64_t dim) {
  check_parameters("mpelu_backward", input, alpha, beta, dim);
  check_grad_output("mpelu_backward", grad_output, input);
  const auto channels = channel_dim("mpelu_backward", input, dim);
  const auto g = to_opmath(grad_output, input);
  const auto x = to_opmath(input, input);
  const auto positive = x > 0;
  const auto n = negative_part(x, positive);
  const auto a = broadcastable(alpha, input, channels);
  const auto b = beta ? broadcastable(*beta, input, channels) : at::ones({}, a.options());

  const auto z = b * n;
  const auto below = at::where(positive, 0.0, g);  // grad_output where the parameters have a part
  const auto slope = a * at::exp(z);
  const auto grad_input = at::where(positive, g, g * (slope * b)).to(input.scalar_type());
  const auto grad_alpha = reduced(below * at::expm1(z), alpha, channels);
  const auto grad_beta =
      beta ? reduced(below * slope * n, *beta, channels) : at::empty({0}, alpha.options());
  return {grad_input, grad_alpha, grad_beta};
}

}  // namespace mpelu::formula
