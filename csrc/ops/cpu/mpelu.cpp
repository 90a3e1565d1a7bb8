#include <torch/library.h>

#include <algorithm>
#include <vector>

#include "ops/cpu/channels.h"
#include "ops/cpu/kernels/stubs.h"
#include "ops/dense.h"

namespace mpelu {

namespace cpu {

constinit Stub<ForwardFn> mpelu_stub;
constinit Stub<BackwardFn> mpelu_backward_stub;

}  // namespace cpu

namespace {

/// The number of channels that alpha and beta tell apart.
int64_t count_of(const at::Tensor& alpha, const OptionalTensor& beta) {
  return std::max(alpha.numel(), beta ? beta->numel() : 1);
}

/// The numbers of alpha and, where it is given, beta.
struct Numbers {
  Numbers(const at::Tensor& alpha, const OptionalTensor& beta, int64_t channels)
      : alpha(cpu::channel_numbers(alpha, channels)),
        beta(beta ? cpu::channel_numbers(*beta, channels) : std::vector<double>()) {}

  cpu::ActivationParameters parameters() const {
    return {alpha.data(), beta.empty() ? nullptr : beta.data()};
  }

  std::vector<double> alpha;
  std::vector<double> beta;
};

void run(const at::Tensor& output, const at::Tensor& input, const at::Tensor& alpha,
         const OptionalTensor& beta, int64_t dim) {
  if (input.numel() > 0) {
    const int64_t channels = count_of(alpha, beta);
    const Numbers numbers(alpha, beta, channels);
    cpu::mpelu_stub(output, input, numbers.parameters(), parameter_layout(input, channels, dim));
  }
}

at::Tensor mpelu_cpu(const at::Tensor& input, const at::Tensor& alpha, const OptionalTensor& beta,
                     int64_t dim) {
  const int64_t channel_dim = check_mpelu(input, alpha, beta, dim);
  const auto x = dense(input);
  auto output = at::empty_like(x);
  run(output, x, alpha, beta, channel_dim);
  return output;
}

at::Tensor& mpelu_cpu_(at::Tensor& input, const at::Tensor& alpha, const OptionalTensor& beta,
                       int64_t dim) {
  const int64_t channel_dim = check_mpelu_inplace(input, alpha, beta, dim);
  return write_dense(input, [&](const at::Tensor& x) { run(x, x, alpha, beta, channel_dim); });
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> mpelu_backward_cpu(const at::Tensor& grad_output,
                                                                  const at::Tensor& input,
                                                                  const at::Tensor& alpha,
                                                                  const OptionalTensor& beta,
                                                                  int64_t dim) {
  const int64_t channel_dim = check_mpelu_backward(grad_output, input, alpha, beta, dim);
  const auto x = dense(input);
  const auto g = dense_as(grad_output, x);
  auto grad_input = at::empty_like(x);

  const int64_t channels = count_of(alpha, beta);
  std::vector<double> alpha_shares(channels);
  std::vector<double> beta_shares(channels);
  if (x.numel() > 0) {
    const Numbers numbers(alpha, beta, channels);
    cpu::mpelu_backward_stub(grad_input,
                             cpu::ActivationGradients{alpha_shares.data(), beta_shares.data()}, g,
                             x, numbers.parameters(), parameter_layout(x, channels, channel_dim));
  }
  return {grad_input, cpu::gradient(alpha, alpha_shares),
          beta ? cpu::gradient(*beta, beta_shares) : no_gradient(alpha)};
}

}  // namespace

TORCH_LIBRARY_IMPL(mpelu, CPU, m) {
  m.impl("mpelu", &mpelu_cpu);
  m.impl("mpelu_", &mpelu_cpu_);
  m.impl("mpelu_backward", &mpelu_backward_cpu);
}

}  // namespace mpelu
