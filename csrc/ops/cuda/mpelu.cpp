#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>

#include "ops/cuda/device.h"
#include "ops/cuda/dtype.h"
#include "ops/cuda/host_arguments.h"
#include "ops/cuda/mpelu_kernels.h"
#include "ops/dense.h"

namespace mpelu {
namespace {

Layout layout_for(const char* op, const at::Tensor& input, const cuda::Parameter& alpha,
                  const cuda::Parameter& beta, int64_t dim) {
  const auto layout = parameter_layout(input, std::max(alpha.count, beta.count), dim);
  cuda::check_channels(op, layout, /*gradients=*/2);
  return layout;
}

void run(const char* op, const at::Tensor& output, const at::Tensor& input, const at::Tensor& alpha,
         const OptionalTensor& beta, int64_t dim) {
  if (input.numel() == 0) {
    return;
  }
  const auto [read_alpha, read_beta] = cuda::read_parameters(input, alpha, beta);
  const cuda::ForwardArguments arguments{
      .dtype = cuda::to_dtype(input.scalar_type()),
      .parameter_dtype = read_alpha.dtype(),
      .layout = layout_for(op, input, read_alpha.view(), read_beta.view(), dim),
      .input = input.const_data_ptr(),
      .output = output.mutable_data_ptr(),
      .alpha = read_alpha.view(),
      .beta = read_beta.view(),
  };
  cuda::launch_on_device_of(input, cuda::mpelu_forward, arguments);
}

at::Tensor mpelu_cuda(const at::Tensor& input, const at::Tensor& alpha, const OptionalTensor& beta,
                      int64_t dim) {
  const int64_t channel_dim = check_mpelu(input, alpha, beta, dim);
  const auto x = dense(input);
  auto output = at::empty_like(x);
  run("mpelu", output, x, alpha, beta, channel_dim);
  return output;
}

at::Tensor& mpelu_cuda_(at::Tensor& input, const at::Tensor& alpha, const OptionalTensor& beta,
                        int64_t dim) {
  const int64_t channel_dim = check_mpelu_inplace(input, alpha, beta, dim);
  return write_dense(input,
                     [&](const at::Tensor& x) { run("mpelu_", x, x, alpha, beta, channel_dim); });
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> mpelu_backward_cuda(const at::Tensor& grad_output,
                                                                   const at::Tensor& input,
                                                                   const at::Tensor& alpha,
                                                                   const OptionalTensor& beta,
                                                                   int64_t dim) {
  const int64_t channel_dim = check_mpelu_backward(grad_output, input, alpha, beta, dim);
  const auto x = dense(input);
  const auto g = dense_as(grad_output, x);
  auto grad_input = at::empty_like(x);
  const auto [read_alpha, read_beta] = cuda::read_parameters(x, alpha, beta);
  auto grad_alpha = read_alpha.new_gradient(x);
  auto grad_beta = read_beta.new_gradient(x);
  if (x.numel() > 0) {
    const auto layout =
        layout_for("mpelu_backward", x, read_alpha.view(), read_beta.view(), channel_dim);
    const auto tensors = cuda::backward_tensors(layout, g, x, grad_input);
    const auto plan = cuda::plan_sums(layout, x.element_size(), tensors.are_aligned());
    const auto workspace =
        at::empty({cuda::workspace_size(plan, read_alpha.view(), read_beta.view())},
                  x.options().dtype(at::kDouble));
    // The pointers of empty tensors are null.
    const cuda::BackwardArguments arguments{
        .dtype = cuda::to_dtype(x.scalar_type()),
        .parameter_dtype = read_alpha.dtype(),
        .tensors = tensors,
        .alpha = read_alpha.view(),
        .beta = read_beta.view(),
        .grad_alpha = grad_alpha.mutable_data_ptr(),
        .grad_beta = grad_beta.mutable_data_ptr(),
        .workspace = workspace.mutable_data_ptr<double>(),
    };
    cuda::launch_on_device_of(x, cuda::mpelu_backward, arguments, plan);
  }
  return {grad_input, grad_alpha.to(alpha.scalar_type()),
          beta ? grad_beta.to(beta->scalar_type()) : grad_beta};
}

}  // namespace

TORCH_LIBRARY_IMPL(mpelu, CUDA, m) {
  m.impl("mpelu", &mpelu_cuda);
  m.impl("mpelu_", &mpelu_cuda_);
  m.impl("mpelu_backward", &mpelu_backward_cuda);
}

}  // namespace mpelu
