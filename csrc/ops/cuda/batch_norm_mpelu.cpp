#include <ATen/OpMathType.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <cmath>

#include "ops/cuda/batch_norm_mpelu_kernels.h"
#include "ops/cuda/device.h"
#include "ops/cuda/dtype.h"
#include "ops/cuda/host_arguments.h"
#include "ops/dense.h"
#include "ops/evaluation.h"

// The forward has a pass over the input for the statistics and one for the output, the backward one
// for the sums and one for the gradient of the input.
namespace mpelu {
namespace {

/// mean and 1 / sqrt(var + eps) of each channel, in the dtype of the arithmetic.
struct Statistics {
  Statistics(const at::Tensor& input, int64_t channels)
      : mean(at::empty({channels}, input.options().dtype(at::toOpMathType(input.scalar_type())))),
        invstd(at::empty_like(mean)) {}

  at::Tensor mean;
  at::Tensor invstd;
};

Statistics statistics_of_nothing(const at::Tensor& input, double eps) {
  Statistics statistics(input, input.size(1));
  statistics.mean.zero_();
  statistics.invstd.fill_(1 / std::sqrt(eps));
  return statistics;
}

/// Those that are kept, in tensors of their own, whatever happens to running_mean and running_var.
Statistics running_statistics(const at::Tensor& input, const at::Tensor& running_mean,
                              const at::Tensor& running_var, double eps) {
  Statistics statistics(input, running_mean.numel());
  const auto arithmetic = statistics.mean.scalar_type();
  const auto dtype = running_mean.scalar_type() == running_var.scalar_type() &&
                             at::toOpMathType(running_mean.scalar_type()) == arithmetic
                         ? running_mean.scalar_type()
                         : arithmetic;
  const auto mean = running_mean.to(dtype).contiguous();
  const auto var = running_var.to(dtype).contiguous();
  const cuda::RunningStatisticsArguments arguments{
      .dtype = cuda::to_dtype(dtype),
      .channels = mean.numel(),
      .eps = eps,
      .running_mean = mean.const_data_ptr(),
      .running_var = var.const_data_ptr(),
      .mean = statistics.mean.mutable_data_ptr(),
      .invstd = statistics.invstd.mutable_data_ptr(),
  };
  cuda::launch_on_device_of(input, cuda::running_statistics, arguments);
  return statistics;
}

/// Those of the batch, which is dense, towards which the running ones move.
Statistics batch_statistics(const at::Tensor& input, const Layout& layout,
                            const OptionalTensor& running_mean, const OptionalTensor& running_var,
                            double momentum, double eps) {
  Statistics statistics(input, layout.channels);
  const auto arithmetic = statistics.mean.scalar_type();
  const auto as_moved = [&](const OptionalTensor& running) {
    return running ? OptionalTensor(running->to(arithmetic).contiguous()) : std::nullopt;
  };
  const auto data_of = [](const OptionalTensor& moving) {
    return moving ? moving->mutable_data_ptr() : nullptr;
  };
  const auto moving_mean = as_moved(running_mean);
  const auto moving_var = as_moved(running_var);
  const auto plan =
      cuda::plan_sums(layout, input.element_size(), cuda::are_aligned(input.const_data_ptr()),
                      cuda::kBatchNormColumns);
  const auto workspace = at::empty({cuda::statistics_workspace_size(plan, layout)},
                                   input.options().dtype(at::kDouble));
  const cuda::BatchStatisticsArguments arguments{
      .dtype = cuda::to_dtype(input.scalar_type()),
      .layout = layout,
      .input = input.const_data_ptr(),
      .momentum = momentum,
      .eps = eps,
      .running_mean = data_of(moving_mean),
      .running_var = data_of(moving_var),
      .mean = statistics.mean.mutable_data_ptr(),
      .invstd = statistics.invstd.mutable_data_ptr(),
      .workspace = workspace.mutable_data_ptr<double>(),
  };
  cuda::launch_on_device_of(input, cuda::batch_statistics, arguments, plan);
  write_back(running_mean, moving_mean);
  write_back(running_var, moving_var);
  return statistics;
}

/// mean and invstd are contiguous, of the dtype of the arithmetic.
cuda::BatchNormParameters batch_norm_parameters(const at::Tensor& mean, const at::Tensor& invstd,
                                                const cuda::ReadParameter& weight,
                                                const cuda::ReadParameter& bias,
                                                const cuda::ReadParameter& alpha,
                                                const cuda::ReadParameter& beta) {
  return {.mean = mean.const_data_ptr(),
          .invstd = invstd.const_data_ptr(),
          .weight = weight.view(),
          .bias = bias.view(/*constant=*/0),
          .alpha = alpha.view(),
          .beta = beta.view()};
}

/// Of each channel weight, bias, alpha and beta have a gradient.
Layout layout_of(const char* op, const at::Tensor& input) {
  const auto layout = channel_layout(input, 1);
  cuda::check_channels(op, layout, /*gradients=*/4);
  return layout;
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> batch_norm_mpelu_cuda(
    const at::Tensor& input, const OptionalTensor& weight, const OptionalTensor& bias,
    const OptionalTensor& running_mean, const OptionalTensor& running_var, const at::Tensor& alpha,
    const OptionalTensor& beta, bool training, double momentum, double eps) {
  check_batch_norm_mpelu(input, weight, bias, running_mean, running_var, alpha, beta, training,
                         eps);
  const auto x = dense(input);
  auto output = at::empty_like(x);
  if (x.numel() == 0) {
    const auto [mean, invstd] = training ? statistics_of_nothing(x, eps)
                                         : running_statistics(x, *running_mean, *running_var, eps);
    return {output, mean, invstd};
  }
  const auto layout = layout_of("batch_norm_mpelu", x);
  const auto [mean, invstd] =
      training ? batch_statistics(x, layout, running_mean, running_var, momentum, eps)
               : running_statistics(x, *running_mean, *running_var, eps);
  const auto [read_alpha, read_beta, read_weight, read_bias] =
      cuda::read_parameters(x, alpha, beta, weight, bias);
  const cuda::BatchNormForwardArguments arguments{
      .dtype = cuda::to_dtype(x.scalar_type()),
      .parameter_dtype = read_alpha.dtype(),
      .layout = layout,
      .input = x.const_data_ptr(),
      .output = output.mutable_data_ptr(),
      .parameters =
          batch_norm_parameters(mean, invstd, read_weight, read_bias, read_alpha, read_beta),
  };
  cuda::launch_on_device_of(x, cuda::batch_norm_mpelu_forward, arguments);
  return {output, mean, invstd};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>
batch_norm_mpelu_backward_cuda(const at::Tensor& grad_output, const at::Tensor& input,
                               const OptionalTensor& weight, const OptionalTensor& bias,
                               const at::Tensor& save_mean, const at::Tensor& save_invstd,
                               const at::Tensor& alpha, const OptionalTensor& beta, bool training,
                               double /*eps*/) {
  check_batch_norm_mpelu_backward(grad_output, input, weight, bias, save_mean, save_invstd, alpha,
                                  beta);
  const auto x = dense(input);
  const auto g = dense_as(grad_output, x);
  auto grad_input = at::empty_like(x);
  const auto [read_alpha, read_beta, read_weight, read_bias] =
      cuda::read_parameters(x, alpha, beta, weight, bias);
  auto grad_weight = read_weight.new_gradient(x);
  auto grad_bias = read_bias.new_gradient(x);
  auto grad_alpha = read_alpha.new_gradient(x);
  auto grad_beta = read_beta.new_gradient(x);
  if (x.numel() > 0) {
    const auto dtype = at::toOpMathType(x.scalar_type());
    const auto mean = save_mean.to(dtype).contiguous();
    const auto invstd = save_invstd.to(dtype).contiguous();
    const auto layout = layout_of("batch_norm_mpelu_backward", x);
    const auto tensors = cuda::backward_tensors(layout, g, x, grad_input);
    const auto plan =
        cuda::plan_sums(layout, x.element_size(), tensors.are_aligned(), cuda::kBatchNormColumns);
    const auto workspace = at::empty(
        {cuda::batch_norm_workspace_size(plan, layout, read_alpha.view(), read_beta.view())},
        x.options().dtype(at::kDouble));
    const auto means = at::empty({training ? 2 * layout.channels : 0}, x.options().dtype(dtype));
    // The pointers of empty tensors are null.
    const cuda::BatchNormBackwardArguments arguments{
        .dtype = cuda::to_dtype(x.scalar_type()),
        .parameter_dtype = read_alpha.dtype(),
        .tensors = tensors,
        .parameters =
            batch_norm_parameters(mean, invstd, read_weight, read_bias, read_alpha, read_beta),
        .grad_weight = grad_weight.mutable_data_ptr(),
        .grad_bias = grad_bias.mutable_data_ptr(),
        .grad_alpha = grad_alpha.mutable_data_ptr(),
        .grad_beta = grad_beta.mutable_data_ptr(),
        .means = means.mutable_data_ptr(),
        .workspace = workspace.mutable_data_ptr<double>(),
    };
    cuda::launch_on_device_of(x, cuda::batch_norm_mpelu_backward, arguments, plan);
  }
  const auto in_dtype_of = [&](const OptionalTensor& parameter, const at::Tensor& gradient) {
    return gradient.to(parameter ? parameter->scalar_type() : alpha.scalar_type());
  };
  return {grad_input, in_dtype_of(weight, grad_weight), in_dtype_of(bias, grad_bias),
          in_dtype_of(alpha, grad_alpha), in_dtype_of(beta, grad_beta)};
}

}  // namespace

TORCH_LIBRARY_IMPL(mpelu, CUDA, m) {
  m.impl("batch_norm_mpelu", &batch_norm_mpelu_cuda);
  m.impl("batch_norm_mpelu_evaluation", &in_evaluation<&batch_norm_mpelu_cuda>);
  m.impl("batch_norm_mpelu_backward", &batch_norm_mpelu_backward_cuda);
}

}  // namespace mpelu
