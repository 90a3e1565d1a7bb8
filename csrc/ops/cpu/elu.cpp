#include <torch/library.h>

#include "ops/cpu/kernels/stubs.h"
#include "ops/dense.h"

namespace mpelu {

namespace cpu {

constinit Stub<EluBackwardFn> elu_backward_stub;

}  // namespace cpu

namespace {

void run(const at::Tensor& output, const at::Tensor& input, double alpha) {
  if (input.numel() > 0) {
    cpu::mpelu_stub(output, input, cpu::ActivationParameters{.alpha = &alpha, .beta = nullptr},
                    shared_layout(input));
  }
}

at::Tensor elu_cpu(const at::Tensor& input, double alpha) {
  check_elu(input);
  const auto x = dense(input);
  auto output = at::empty_like(x);
  run(output, x, alpha);
  return output;
}

at::Tensor& elu_cpu_(at::Tensor& input, double alpha) {
  check_elu_inplace(input, alpha);
  return write_dense(input, [&](const at::Tensor& x) { run(x, x, alpha); });
}

at::Tensor elu_backward_cpu(const at::Tensor& grad_output, const at::Tensor& input_or_output,
                            double alpha, bool is_result) {
  check_elu_backward(grad_output, input_or_output, alpha, is_result);
  const auto x = dense(input_or_output);
  const auto g = dense_as(grad_output, x);
  auto grad_input = at::empty_like(x);
  if (x.numel() > 0) {
    cpu::elu_backward_stub(grad_input, g, x, alpha, is_result);
  }
  return grad_input;
}

}  // namespace

TORCH_LIBRARY_IMPL(mpelu, CPU, m) {
  m.impl("elu", &elu_cpu);
  m.impl("elu_", &elu_cpu_);
  m.impl("elu_backward", &elu_backward_cpu);
}

}  // namespace mpelu
