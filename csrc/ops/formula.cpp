#include "ops/formula.h"

#include <ATen/ATen.h>
#include <ATen/OpMathType.h>

#include <numeric>
#include <tuple>
#include <vector>

#include "ops/checks.h"

namespace mpelu::formula {
namespace {

at::Tensor to_opmath(const at::Tensor& tensor, const at::Tensor& input) {
  return tensor.to(at::toOpMathType(input.scalar_type()));
}

OptionalTensor to_opmath(const OptionalTensor& tensor, const at::Tensor& input) {
  return tensor ? OptionalTensor(to_opmath(*tensor, input)) : std::nullopt;
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

/// All dimensions of tensor but dim.
std::vector<int64_t> dims_but(const at::Tensor& tensor, int64_t dim) {
  std::vector<int64_t> dims(tensor.dim());
  std::iota(dims.begin(), dims.end(), 0);
  std::erase(dims, dim);
  return dims;
}

/// The gradient of a parameter: the sum of all elements' contributions to it.
at::Tensor reduced(const at::Tensor& contributions, const at::Tensor& parameter, int64_t dim) {
  at::Tensor sum = contributions;
  if (parameter.sym_numel() == 1) {
    sum = contributions.sum();
  } else if (contributions.dim() > 1) {
    sum = contributions.sum(dims_but(contributions, dim));
  }
  return sum.reshape_symint(parameter.sym_sizes()).to(parameter.scalar_type());
}

/// x where it is not positive, else zero. Masking before the exponential keeps its derivative
/// finite where it is not wanted: 0 * inf would be NaN.
at::Tensor negative_part(const at::Tensor& x, const at::Tensor& positive) {
  return at::where(positive, 0.0, x);
}

/// The average over each channel.
at::Tensor average(const at::Tensor& tensor) {
  return tensor.mean(dims_but(tensor, 1), /*keepdim=*/true);
}

struct Standardised {
  at::Tensor values;  // (x - mean) * invstd
  at::Tensor invstd;
};

/// In training the statistics are functions of x, and are differentiated as such.
Standardised standardised(const at::Tensor& x, const at::Tensor& mean, const at::Tensor& invstd,
                          bool training, double eps) {
  if (!training) {
    const auto of_channels = broadcastable(invstd, x, 1);
    return {(x - broadcastable(mean, x, 1)) * of_channels, of_channels};
  }
  const auto centered = x - average(x);
  const auto of_channels = at::rsqrt(average(centered * centered) + eps);
  return {centered * of_channels, of_channels};
}

at::Tensor scaled_and_shifted(const at::Tensor& x, const OptionalTensor& weight,
                              const OptionalTensor& bias) {
  const auto scaled = weight ? x * broadcastable(*weight, x, 1) : x;
  return bias ? scaled + broadcastable(*bias, x, 1) : scaled;
}

}  // namespace

at::Tensor elu(const at::Tensor& input, double alpha) {
  check_elu(input);
  const auto x = to_opmath(input, input);
  const auto positive = x > 0;
  const auto m = at::expm1(negative_part(x, positive));
  return at::where(positive, x, alpha * m).to(input.scalar_type());
}

at::Tensor& elu_(at::Tensor& input, double alpha) {
  check_elu_inplace_alpha(alpha);
  return input.copy_(elu(input, alpha));
}

at::Tensor elu_backward(const at::Tensor& grad_output, const at::Tensor& input_or_output,
                        double alpha, bool is_result) {
  check_elu_backward(grad_output, input_or_output, alpha, is_result);
  const auto g = to_opmath(grad_output, input_or_output);
  const auto x = to_opmath(input_or_output, input_or_output);
  const auto positive = x > 0;
  const auto n = negative_part(x, positive);
  const auto slope = is_result ? n + alpha : alpha * at::exp(n);
  return at::where(positive, g, g * slope).to(input_or_output.scalar_type());
}

at::Tensor mpelu(const at::Tensor& input, const at::Tensor& alpha, const OptionalTensor& beta,
                 int64_t dim) {
  const int64_t channel_dim = check_mpelu(input, alpha, beta, dim);
  const auto x = to_opmath(input, input);
  const auto positive = x > 0;
  const auto n = negative_part(x, positive);
  const auto m = at::expm1(beta ? broadcastable(*beta, input, channel_dim) * n : n);
  const auto a = broadcastable(alpha, input, channel_dim);
  return at::where(positive, x, a * m).to(input.scalar_type());
}

at::Tensor& mpelu_(at::Tensor& input, const at::Tensor& alpha, const OptionalTensor& beta,
                   int64_t dim) {
  return input.copy_(mpelu(input, alpha, beta, dim));
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> mpelu_backward(const at::Tensor& grad_output,
                                                              const at::Tensor& input,
                                                              const at::Tensor& alpha,
                                                              const OptionalTensor& beta,
                                                              int64_t dim) {
  const int64_t channel_dim = check_mpelu_backward(grad_output, input, alpha, beta, dim);
  const auto g = to_opmath(grad_output, input);
  const auto x = to_opmath(input, input);
  const auto positive = x > 0;
  const auto n = negative_part(x, positive);
  const auto a = broadcastable(alpha, input, channel_dim);
  const auto b = beta ? broadcastable(*beta, input, channel_dim) : at::ones({}, a.options());

  const auto z = b * n;
  const auto below = at::where(positive, 0.0, g);  // grad_output where the parameters have a part
  const auto slope = a * at::exp(z);
  const auto grad_input = at::where(positive, g, g * (slope * b)).to(input.scalar_type());
  const auto grad_alpha = reduced(below * at::expm1(z), alpha, channel_dim);
  const auto grad_beta = beta ? reduced(below * slope * n, *beta, channel_dim) : no_gradient(alpha);
  return {grad_input, grad_alpha, grad_beta};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> batch_norm_mpelu(
    const at::Tensor& input, const OptionalTensor& weight, const OptionalTensor& bias,
    const OptionalTensor& running_mean, const OptionalTensor& running_var, const at::Tensor& alpha,
    const OptionalTensor& beta, bool training, double momentum, double eps) {
  check_batch_norm_mpelu(input, weight, bias, running_mean, running_var, alpha, beta, training,
                         eps);
  const auto x = to_opmath(input, input);
  if (training && input.sym_numel() == 0) {
    const auto mean = at::zeros_symint({input.sym_size(1)}, x.options());
    return {input.clone(), mean, at::rsqrt(mean + eps)};
  }
  const auto moving_mean = to_opmath(running_mean, input);
  const auto moving_var = to_opmath(running_var, input);
  at::Tensor mean;
  at::Tensor invstd;
  if (training) {
    // Its output is left alone: under transforms the second derivatives of it are wrong.
    std::tie(std::ignore, mean, invstd) =
        at::native_batch_norm(x, /*weight=*/std::nullopt, /*bias=*/std::nullopt, moving_mean,
                              moving_var, training, momentum, eps);
    write_back(running_mean, moving_mean);
    write_back(running_var, moving_var);
  } else {
    mean = moving_mean->clone();
    invstd = at::rsqrt(*moving_var + eps);
  }
  const auto normalised =
      scaled_and_shifted(standardised(x, mean, invstd, training, eps).values, weight, bias);
  const auto output = mpelu(normalised, to_opmath(alpha, input), to_opmath(beta, input), /*dim=*/1);
  return {output.to(input.scalar_type()), mean, invstd};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor> batch_norm_mpelu_backward(
    const at::Tensor& grad_output, const at::Tensor& input, const OptionalTensor& weight,
    const OptionalTensor& bias, const at::Tensor& save_mean, const at::Tensor& save_invstd,
    const at::Tensor& alpha, const OptionalTensor& beta, bool training, double eps) {
  check_batch_norm_mpelu_backward(grad_output, input, weight, bias, save_mean, save_invstd, alpha,
                                  beta);
  const auto x = to_opmath(input, input);
  const auto [values, invstd] = standardised(x, save_mean, save_invstd, training, eps);
  const auto [grad, grad_alpha, grad_beta] =
      mpelu_backward(to_opmath(grad_output, input), scaled_and_shifted(values, weight, bias),
                     to_opmath(alpha, input), to_opmath(beta, input), /*dim=*/1);
  const auto gradient_of = [&](const OptionalTensor& parameter, const at::Tensor& terms) {
    return parameter ? reduced(terms, *parameter, 1) : no_gradient(alpha);
  };
  const auto scaled = weight ? grad * broadcastable(*weight, x, 1) : grad;
  const auto grad_input =
      training ? scaled - average(scaled) - values * average(scaled * values) : scaled;
  return {(grad_input * invstd).to(input.scalar_type()), gradient_of(weight, grad * values),
          gradient_of(bias, grad), grad_alpha.to(alpha.scalar_type()),
          beta ? grad_beta.to(beta->scalar_type()) : no_gradient(alpha)};
}

}  // namespace mpelu::formula
