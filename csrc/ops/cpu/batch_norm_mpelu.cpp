#include <ATen/OpMathType.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <cmath>
#include <utility>
#include <vector>

#include "math/batch_norm.h"
#include "ops/cpu/channels.h"
#include "ops/cpu/kernels/stubs.h"
#include "ops/dense.h"
#include "ops/evaluation.h"

namespace mpelu {

namespace cpu {

constinit Stub<BatchNormFn> batch_norm_mpelu_stub;
constinit Stub<BatchNormBackwardFn> batch_norm_mpelu_backward_stub;

}  // namespace cpu

namespace {

/// The numbers of a batch norm and its activation.
struct Numbers {
  std::vector<double> mean;
  std::vector<double> invstd;
  std::vector<double> weight;
  std::vector<double> bias;
  std::vector<double> alpha;
  std::vector<double> beta;

  /// Of a training forward, the kernel writes the statistics.
  cpu::BatchNormParameters parameters() {
    return {mean.data(), invstd.data(), weight.data(), bias.data(), alpha.data(), beta.data()};
  }
};

Numbers make_numbers(std::vector<double> mean, std::vector<double> invstd,
                     const OptionalTensor& weight, const OptionalTensor& bias,
                     const at::Tensor& alpha, const OptionalTensor& beta) {
  const auto channels = static_cast<int64_t>(mean.size());
  return {.mean = std::move(mean),
          .invstd = std::move(invstd),
          .weight = cpu::channel_numbers(weight, channels, 1),
          .bias = cpu::channel_numbers(bias, channels, 0),
          .alpha = cpu::channel_numbers(alpha, channels),
          .beta = cpu::channel_numbers(beta, channels, 1)};
}

/// Moves a running statistic towards scale * batch.
void move_towards(const OptionalTensor& running, const std::vector<double>& batch, double momentum,
                  double scale = 1) {
  if (!running) {
    return;
  }
  AT_DISPATCH_FLOATING_TYPES_AND2(
      at::kBFloat16, at::kHalf, running->scalar_type(), "batch_norm_mpelu_running_cpu", [&] {
        auto numbers = running->accessor<scalar_t, 1>();
        for (size_t i = 0; i < batch.size(); ++i) {
          auto& number = numbers[static_cast<int64_t>(i)];
          number = static_cast<scalar_t>(
              math::moved(static_cast<double>(number), scale * batch[i], momentum));
        }
      });
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> batch_norm_mpelu_cpu(
    const at::Tensor& input, const OptionalTensor& weight, const OptionalTensor& bias,
    const OptionalTensor& running_mean, const OptionalTensor& running_var, const at::Tensor& alpha,
    const OptionalTensor& beta, bool training, double momentum, double eps) {
  check_batch_norm_mpelu(input, weight, bias, running_mean, running_var, alpha, beta, training,
                         eps);
  const auto x = dense(input);
  auto output = at::empty_like(x);
  const int64_t channels = x.size(1);
  const auto statistic = [&](const OptionalTensor& running) {
    return training ? std::vector<double>(channels) : cpu::channel_numbers(*running, channels);
  };
  auto variance = statistic(running_var);
  auto numbers = make_numbers(statistic(running_mean), variance, weight, bias, alpha, beta);
  for (double& number : numbers.invstd) {
    number = 1 / std::sqrt(number + eps);
  }
  if (x.numel() > 0) {
    cpu::batch_norm_mpelu_stub(output, x, numbers.parameters(),
                               training ? variance.data() : nullptr, eps, channel_layout(x, 1));
  }
  if (training && x.numel() > 0) {
    const auto count = static_cast<double>(x.numel() / channels);
    move_towards(running_mean, numbers.mean, momentum);
    move_towards(running_var, variance, momentum, count / (count - 1));
  }
  const auto options = x.options().dtype(at::toOpMathType(x.scalar_type()));
  return {output, cpu::channel_tensor(numbers.mean, options),
          cpu::channel_tensor(numbers.invstd, options)};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>
batch_norm_mpelu_backward_cpu(const at::Tensor& grad_output, const at::Tensor& input,
                              const OptionalTensor& weight, const OptionalTensor& bias,
                              const at::Tensor& save_mean, const at::Tensor& save_invstd,
                              const at::Tensor& alpha, const OptionalTensor& beta, bool training,
                              double /*eps*/) {
  check_batch_norm_mpelu_backward(grad_output, input, weight, bias, save_mean, save_invstd, alpha,
                                  beta);
  const auto x = dense(input);
  const auto g = dense_as(grad_output, x);
  auto grad_input = at::empty_like(x);
  const int64_t channels = x.size(1);
  std::vector<double> weight_shares(channels), bias_shares(channels);
  std::vector<double> alpha_shares(channels), beta_shares(channels);
  if (x.numel() > 0) {
    auto numbers =
        make_numbers(cpu::channel_numbers(save_mean, channels),
                     cpu::channel_numbers(save_invstd, channels), weight, bias, alpha, beta);
    cpu::batch_norm_mpelu_backward_stub(
        grad_input,
        cpu::BatchNormGradients{weight_shares.data(), bias_shares.data(), alpha_shares.data(),
                                beta_shares.data()},
        g, x, numbers.parameters(), training, channel_layout(x, 1));
  }
  const auto gradient_of = [&](const OptionalTensor& parameter, const std::vector<double>& shares) {
    return parameter ? cpu::gradient(*parameter, shares) : no_gradient(alpha);
  };
  return {grad_input, gradient_of(weight, weight_shares), gradient_of(bias, bias_shares),
          gradient_of(alpha, alpha_shares), gradient_of(beta, beta_shares)};
}

}  // namespace

TORCH_LIBRARY_IMPL(mpelu, CPU, m) {
  m.impl("batch_norm_mpelu", &batch_norm_mpelu_cpu);
  m.impl("batch_norm_mpelu_evaluation", &in_evaluation<&batch_norm_mpelu_cpu>);
  m.impl("batch_norm_mpelu_backward", &batch_norm_mpelu_backward_cpu);
}

}  // namespace mpelu
