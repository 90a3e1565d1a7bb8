#include <ATen/OpMathType.h>
#include <torch/library.h>

#include "ops/cuda/device.h"
#include "ops/cuda/dtype.h"
#include "ops/cuda/elu_kernels.h"
#include "ops/cuda/mpelu_kernels.h"
#include "ops/dense.h"

namespace mpelu {
namespace {

void run(const at::Tensor& output, const at::Tensor& input, double alpha) {
  const cuda::ForwardArguments arguments{
      .dtype = cuda::to_dtype(input.scalar_type()),
      .parameter_dtype = cuda::to_dtype(at::toOpMathType(input.scalar_type())),
      .layout = shared_layout(input),
      .input = input.const_data_ptr(),
      .output = output.mutable_data_ptr(),
      .alpha = {.value = alpha},
      .beta = {.value = 1.0},
  };
  cuda::launch_on_device_of(input, cuda::mpelu_forward, arguments);
}

at::Tensor elu_cuda(const at::Tensor& input, double alpha) {
  check_elu(input);
  const auto x = dense(input);
  auto output = at::empty_like(x);
  run(output, x, alpha);
  return output;
}

at::Tensor& elu_cuda_(at::Tensor& input, double alpha) {
  check_elu_inplace(input, alpha);
  return write_dense(input, [&](const at::Tensor& x) { run(x, x, alpha); });
}

at::Tensor elu_backward_cuda(const at::Tensor& grad_output, const at::Tensor& input_or_output,
                             double alpha, bool is_result) {
  check_elu_backward(grad_output, input_or_output, alpha, is_result);
  const auto x = dense(input_or_output);
  const auto g = dense_as(grad_output, x);
  auto grad_input = at::empty_like(x);
  const cuda::EluBackwardArguments arguments{
      .dtype = cuda::to_dtype(x.scalar_type()),
      .numel = x.numel(),
      .grad_output = g.const_data_ptr(),
      .input_or_output = x.const_data_ptr(),
      .grad_input = grad_input.mutable_data_ptr(),
      .alpha = alpha,
      .is_result = is_result,
  };
  cuda::launch_on_device_of(x, cuda::elu_backward, arguments);
  return grad_input;
}

}  // namespace

TORCH_LIBRARY_IMPL(mpelu, CUDA, m) {
  m.impl("elu", &elu_cuda);
  m.impl("elu_", &elu_cuda_);
  m.impl("elu_backward", &elu_backward_cuda);
}

}  // namespace mpelu
