#include <ATen/OpMathType.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <limits>

#include "ops/cuda/device.h"
#include "ops/cuda/mpelu_kernels.h"
#include "ops/dense.h"

namespace mpelu {
namespace {

/// alpha and beta as the kernels read them: of one dtype, which is also that of their gradients.
class Parameters {
 public:
  Parameters(const at::Tensor& input, const at::Tensor& alpha,
             const std::optional<at::Tensor>& beta)
      : dtype_(beta && beta->scalar_type() != alpha.scalar_type()
                   ? at::toOpMathType(input.scalar_type())
                   : alpha.scalar_type()),
        alpha_(alpha.to(dtype_).contiguous()),
        beta_(beta ? beta->to(dtype_).contiguous() : at::Tensor()) {}

  cuda::DType dtype() const { return cuda::to_dtype(dtype_); }
  cuda::Parameter alpha() const { return view(alpha_); }
  cuda::Parameter beta() const { return beta_.defined() ? view(beta_) : cuda::Parameter{}; }
  at::Tensor empty_grad_alpha() const { return at::empty(alpha_.sizes(), alpha_.options()); }
  at::Tensor empty_grad_beta() const {
    return beta_.defined() ? at::empty(beta_.sizes(), beta_.options())
                           : at::empty({0}, alpha_.options());
  }

  Layout layout(const at::Tensor& input, int64_t dim) const {
    const bool shared = alpha_.numel() == 1 && (!beta_.defined() || beta_.numel() == 1);
    const Layout layout = shared ? shared_layout(input) : channel_layout(input, dim);
    TORCH_CHECK(layout.channels <= std::numeric_limits<int32_t>::max(),
                "mpelu: expected fewer than 2^31 channels on CUDA, got ", layout.channels);
    return layout;
  }

 private:
  static cuda::Parameter view(const at::Tensor& parameter) {
    return {.data = parameter.const_data_ptr(), .count = parameter.numel()};
  }

  at::ScalarType dtype_;
  at::Tensor alpha_;
  at::Tensor beta_;
};

void run(const at::Tensor& output, const at::Tensor& input, const at::Tensor& alpha,
         const std::optional<at::Tensor>& beta, int64_t dim) {
  if (input.numel() == 0) {
    return;
  }
  const Parameters parameters(input, alpha, beta);
  const cuda::ForwardArguments arguments{
      .dtype = cuda::to_dtype(input.scalar_type()),
      .parameter_dtype = parameters.dtype(),
      .layout = parameters.layout(input, dim),
      .input = input.const_data_ptr(),
      .output = output.mutable_data_ptr(),
      .alpha = parameters.alpha(),
      .beta = parameters.beta(),
  };
  cuda::launch_on_device_of(input, cuda::mpelu_forward, arguments);
}

at::Tensor mpelu_cuda(const at::Tensor& input, const at::Tensor& alpha,
                      const std::optional<at::Tensor>& beta, int64_t dim) {
  check_parameters("mpelu", input, alpha, beta, dim);
  const auto x = dense(input);
  auto output = at::empty_like(x);
  run(output, x, alpha, beta, channel_dim("mpelu", input, dim));
  return output;
}

at::Tensor& mpelu_cuda_(at::Tensor& input, const at::Tensor& alpha,
                        const std::optional<at::Tensor>& beta, int64_t dim) {
  check_parameters("mpelu_", input, alpha, beta, dim);
  check_inplace("mpelu_", input, alpha, beta);
  const auto x = dense(input);
  run(x, x, alpha, beta, channel_dim("mpelu_", input, dim));
  return x.is_same(input) ? input : input.copy_(x);
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> mpelu_backward_cuda(
    const at::Tensor& grad_output, const at::Tensor& input, const at::Tensor& alpha,
    const std::optional<at::Tensor>& beta, int64_t dim) {
  check_parameters("mpelu_backward", input, alpha, beta, dim);
  check_grad_output("mpelu_backward", grad_output, input);
  const auto x = dense(input);
  const auto g = dense_as(grad_output, x);
  auto grad_input = at::empty_like(x);
  if (x.numel() == 0) {
    return {grad_input, at::zeros(alpha.sizes(), alpha.options()),
            beta ? at::zeros(beta->sizes(), beta->options()) : at::empty({0}, alpha.options())};
  }

  const Parameters parameters(x, alpha, beta);
  auto grad_alpha = parameters.empty_grad_alpha();
  auto grad_beta = parameters.empty_grad_beta();
  const auto layout = parameters.layout(x, channel_dim("mpelu_backward", input, dim));
  const bool aligned =
      cuda::are_aligned(g.const_data_ptr(), x.const_data_ptr(), grad_input.const_data_ptr());
  const auto plan = cuda::plan_backward(layout, x.element_size(), aligned);
  const auto workspace =
      at::empty({cuda::workspace_size(plan, parameters.alpha(), parameters.beta())},
                x.options().dtype(at::kDouble));
  // The pointers of empty tensors are null.
  const cuda::BackwardArguments arguments{
      .dtype = cuda::to_dtype(x.scalar_type()),
      .parameter_dtype = parameters.dtype(),
      .layout = layout,
      .grad_output = g.const_data_ptr(),
      .input = x.const_data_ptr(),
      .grad_input = grad_input.mutable_data_ptr(),
      .alpha = parameters.alpha(),
      .beta = parameters.beta(),
      .grad_alpha = grad_alpha.mutable_data_ptr(),
      .grad_beta = grad_beta.mutable_data_ptr(),
      .workspace = workspace.mutable_data_ptr<double>(),
  };
  cuda::launch_on_device_of(x, cuda::mpelu_backward, arguments, plan);
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
