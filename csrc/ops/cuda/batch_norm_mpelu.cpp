#include <ATen/OpMathType.h>
#include <ATen/ops/batch_norm_update_stats.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <cmath>

#include "ops/cuda/batch_norm_mpelu_kernels.h"
#include "ops/cuda/device.h"
#include "ops/cuda/dtype.h"
#include "ops/cuda/host_arguments.h"
#include "ops/dense.h"

// The statistics are torch's, from one pass over the input. The rest is one pass in the forward and
// two in the backward.
namespace mpelu {
namespace {

/// mean and 1 / sqrt(var + eps) of each channel.
struct Statistics {
  at::Tensor mean;
  at::Tensor invstd;
};

/// Those of mean and var, in tensors of their own, whatever happens to mean and var.
Statistics statistics_of(const at::Tensor& mean, const at::Tensor& var, double eps,
                         const at::Tensor& input) {
  const auto arithmetic = at::toOpMathType(input.scalar_type());
  const auto dtype =
      mean.scalar_type() == var.scalar_type() && at::toOpMathType(mean.scalar_type()) == arithmetic
          ? mean.scalar_type()
          : arithmetic;
  const auto from_mean = mean.to(dtype).contiguous();
  const auto from_var = var.to(dtype).contiguous();
  const auto options = input.options().dtype(arithmetic);
  Statistics statistics{at::empty(mean.sizes(), options), at::empty(mean.sizes(), options)};
  const cuda::StatisticsArguments arguments{
      .dtype = cuda::to_dtype(dtype),
      .channels = mean.numel(),
      .eps = eps,
      .from_mean = from_mean.const_data_ptr(),
      .from_var = from_var.const_data_ptr(),
      .mean = statistics.mean.mutable_data_ptr(),
      .invstd = statistics.invstd.mutable_data_ptr(),
  };
  cuda::launch_on_device_of(input, cuda::batch_norm_statistics, arguments);
  return statistics;
}

Statistics statistics_of_nothing(const at::Tensor& input, double eps) {
  const auto options = input.options().dtype(at::toOpMathType(input.scalar_type()));
  return {at::zeros({input.size(1)}, options),
          at::full({input.size(1)}, 1 / std::sqrt(eps), options)};
}

/// input, which is dense, as it lies in memory: contiguous. Of other layouts, but for channels last
/// in four dimensions, torch would round a half input's mean to half, as it does from 2^31 elements
/// on.
at::Tensor in_memory_order(const at::Tensor& input) {
  const auto layout = channel_layout(input, 1);
  return input.as_strided({layout.outer, layout.channels, layout.inner},
                          {layout.channels * layout.inner, layout.inner, 1});
}

/// Those of the batch, towards which the running ones move.
Statistics batch_statistics(const at::Tensor& input, const OptionalTensor& running_mean,
                            const OptionalTensor& running_var, double momentum, double eps) {
  const auto dtype = at::toOpMathType(input.scalar_type());
  const auto widened = [&](const OptionalTensor& running) {
    return is_defined(running) ? OptionalTensor(running->to(dtype)) : std::nullopt;
  };
  const auto moved_mean = widened(running_mean);
  const auto moved_var = widened(running_var);
  const auto [mean, var] =
      at::batch_norm_update_stats(in_memory_order(input), moved_mean, moved_var, momentum);
  const auto write_back = [](const OptionalTensor& moved, const OptionalTensor& running) {
    if (moved && !moved->is_same(*running)) {
      running->copy_(*moved);
    }
  };
  write_back(moved_mean, running_mean);
  write_back(moved_var, running_var);
  return statistics_of(mean, var, eps, input);
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
  check_batch_norm("batch_norm_mpelu", input, weight, bias, running_mean, running_var, alpha, beta,
                   training);
  const auto x = dense(input);
  auto output = at::empty_like(x);
  if (x.numel() == 0) {
    const auto [mean, invstd] = training ? statistics_of_nothing(x, eps)
                                         : statistics_of(*running_mean, *running_var, eps, x);
    return {output, mean, invstd};
  }
  const auto layout = layout_of("batch_norm_mpelu", x);
  const auto [mean, invstd] = training
                                  ? batch_statistics(x, running_mean, running_var, momentum, eps)
                                  : statistics_of(*running_mean, *running_var, eps, x);
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
  check_batch_norm_backward("batch_norm_mpelu_backward", grad_output, input, weight, bias,
                            save_mean, save_invstd, alpha, beta);
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
    const auto plan = cuda::plan_backward(layout, x.element_size(), tensors.are_aligned(),
                                          cuda::kBatchNormColumns);
    const auto workspace = at::empty({4 * plan.sums()}, x.options().dtype(at::kDouble));
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
    return gradient.to(is_defined(parameter) ? parameter->scalar_type() : alpha.scalar_type());
  };
  return {grad_input, in_dtype_of(weight, grad_weight), in_dtype_of(bias, grad_bias),
          in_dtype_of(alpha, grad_alpha), in_dtype_of(beta, grad_beta)};
}

}  // namespace

TORCH_LIBRARY_IMPL(mpelu, CUDA, m) {
  m.impl("batch_norm_mpelu", &batch_norm_mpelu_cuda);
  m.impl("batch_norm_mpelu_backward", &batch_norm_mpelu_backward_cuda);
}

}  // namespace mpelu
