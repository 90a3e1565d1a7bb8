#include <ATen/OpMathType.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <vector>

#include "ops/cpu/gradients.h"
#include "ops/cpu/kernels/stubs.h"
#include "ops/dense.h"

namespace at::native {

DEFINE_DISPATCH(mpelu_stub);
DEFINE_DISPATCH(mpelu_backward_stub);

}  // namespace at::native

namespace mpelu {
namespace {

/// alpha and beta as the kernels read them, and the tensors that hold the numbers meanwhile.
class Parameters {
 public:
  Parameters(const at::Tensor& input, const at::Tensor& alpha,
             const std::optional<at::Tensor>& beta)
      : alpha_(as_opmath(alpha, input)), beta_(beta ? as_opmath(*beta, input) : at::Tensor()) {}

  cpu::Parameter alpha() const { return view(alpha_); }
  cpu::Parameter beta() const { return beta_.defined() ? view(beta_) : cpu::Parameter{}; }

  Layout layout(const at::Tensor& input, int64_t dim) const {
    const bool shared = alpha_.numel() == 1 && (!beta_.defined() || beta_.numel() == 1);
    return shared ? shared_layout(input) : channel_layout(input, dim);
  }

 private:
  static at::Tensor as_opmath(const at::Tensor& parameter, const at::Tensor& input) {
    return parameter.to(at::toOpMathType(input.scalar_type())).contiguous();
  }

  static cpu::Parameter view(const at::Tensor& parameter) {
    return {.data = parameter.const_data_ptr(), .stride = parameter.numel() == 1 ? 0 : 1};
  }

  at::Tensor alpha_;
  at::Tensor beta_;
};

void run(const at::Tensor& output, const at::Tensor& input, const at::Tensor& alpha,
         const std::optional<at::Tensor>& beta, int64_t dim) {
  if (input.numel() > 0) {
    const Parameters parameters(input, alpha, beta);
    at::native::mpelu_stub(at::kCPU, output, input, parameters.alpha(), parameters.beta(),
                           parameters.layout(input, dim));
  }
}

at::Tensor mpelu_cpu(const at::Tensor& input, const at::Tensor& alpha,
                     const std::optional<at::Tensor>& beta, int64_t dim) {
  check_parameters("mpelu", input, alpha, beta, dim);
  const auto x = dense(input);
  auto output = at::empty_like(x);
  run(output, x, alpha, beta, channel_dim("mpelu", input, dim));
  return output;
}

at::Tensor& mpelu_cpu_(at::Tensor& input, const at::Tensor& alpha,
                       const std::optional<at::Tensor>& beta, int64_t dim) {
  check_parameters("mpelu_", input, alpha, beta, dim);
  check_inplace("mpelu_", input, alpha, beta);
  const auto x = dense(input);
  run(x, x, alpha, beta, channel_dim("mpelu_", input, dim));
  return x.is_same(input) ? input : input.copy_(x);
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> mpelu_backward_cpu(
    const at::Tensor& grad_output, const at::Tensor& input, const at::Tensor& alpha,
    const std::optional<at::Tensor>& beta, int64_t dim) {
  check_parameters("mpelu_backward", input, alpha, beta, dim);
  check_grad_output("mpelu_backward", grad_output, input);
  const auto x = dense(input);
  const auto g = dense_as(grad_output, x);
  auto grad_input = at::empty_like(x);

  const int64_t channels = std::max(alpha.numel(), beta ? beta->numel() : 1);
  std::vector<double> alpha_sums(channels);
  std::vector<double> beta_sums(channels);
  if (x.numel() > 0) {
    const Parameters parameters(x, alpha, beta);
    at::native::mpelu_backward_stub(
        at::kCPU, grad_input, cpu::ChannelSums{alpha_sums.data(), beta_sums.data()}, g, x,
        parameters.alpha(), parameters.beta(),
        parameters.layout(x, channel_dim("mpelu_backward", input, dim)));
  }
  return {grad_input, cpu::gradient(alpha, alpha_sums),
          beta ? cpu::gradient(*beta, beta_sums) : at::empty({0}, alpha.options())};
}

}  // namespace

TORCH_LIBRARY_IMPL(mpelu, CPU, m) {
  m.impl("mpelu", &mpelu_cpu);
  m.impl("mpelu_", &mpelu_cpu_);
  m.impl("mpelu_backward", &mpelu_backward_cpu);
}

}  // namespace mpelu
