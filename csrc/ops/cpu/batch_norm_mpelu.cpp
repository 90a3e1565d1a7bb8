#include <ATen/OpMathType.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <vector>

#include "ops/cpu/gradients.h"
#include "ops/cpu/kernels/stubs.h"
#include "ops/dense.h"

namespace at::native {

DEFINE_DISPATCH(mpelu_batch_norm_stub);
DEFINE_DISPATCH(mpelu_batch_norm_backward_stub);

}  // namespace at::native

namespace mpelu {
namespace {

using OptionalTensor = std::optional<at::Tensor>;

at::Tensor as_doubles(const at::Tensor& tensor) { return tensor.to(at::kDouble).contiguous(); }

/// The numbers of a tensor that may be left out, as the kernels read them.
class Numbers {
 public:
  explicit Numbers(const OptionalTensor& tensor, double value = 0) : value_(value) {
    if (is_defined(tensor)) {
      doubles_ = as_doubles(*tensor);
    }
  }

  cpu::Parameter view() const {
    if (!doubles_.defined()) {
      return {.value = value_};
    }
    return {.data = doubles_.const_data_ptr(), .stride = doubles_.numel() == 1 ? 0 : 1};
  }

 private:
  double value_;
  at::Tensor doubles_;
};

/// Everything but the tensors that are as large as the input.
struct Parameters {
  Parameters(const at::Tensor& mean, const at::Tensor& invstd, const OptionalTensor& weight,
             const OptionalTensor& bias, const at::Tensor& alpha, const OptionalTensor& beta)
      : mean(as_doubles(mean)),
        invstd(as_doubles(invstd)),
        weight(weight, 1),
        bias(bias, 0),
        alpha(alpha),
        beta(beta, 1) {}

  cpu::BatchNormParameters view() const {
    return {mean.data_ptr<double>(),
            invstd.data_ptr<double>(),
            weight.view(),
            bias.view(),
            alpha.view(),
            beta.view()};
  }

  at::Tensor mean, invstd;
  Numbers weight, bias, alpha, beta;
};

/// running = (1 - momentum) * running + momentum * batch.
void move_towards(const OptionalTensor& running, const at::Tensor& batch, double momentum) {
  if (is_defined(running)) {
    running->copy_(as_doubles(*running).mul(1 - momentum).add_(batch, momentum));
  }
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> batch_norm_mpelu_cpu(
    const at::Tensor& input, const OptionalTensor& weight, const OptionalTensor& bias,
    const OptionalTensor& running_mean, const OptionalTensor& running_var, const at::Tensor& alpha,
    const OptionalTensor& beta, bool training, double momentum, double eps) {
  check_batch_norm("batch_norm_mpelu", input, weight, bias, running_mean, running_var, alpha, beta,
                   training);
  const auto x = dense(input);
  auto output = at::empty_like(x);
  const auto doubles = x.options().dtype(at::kDouble);
  const auto variance = training ? at::zeros({x.size(1)}, doubles) : as_doubles(*running_var);
  const Parameters parameters(training ? at::zeros({x.size(1)}, doubles) : *running_mean,
                              variance.add(eps).rsqrt_(), weight, bias, alpha, beta);
  if (x.numel() > 0) {
    at::native::mpelu_batch_norm_stub(at::kCPU, output, x, parameters.view(),
                                      training ? variance.data_ptr<double>() : nullptr, eps,
                                      channel_layout(x, 1));
  }
  if (training && x.numel() > 0) {
    const auto count = static_cast<double>(x.numel() / x.size(1));
    move_towards(running_mean, parameters.mean, momentum);
    move_towards(running_var, variance.mul(count / (count - 1)), momentum);
  }
  const auto saved = [&](const at::Tensor& statistic) {
    return statistic.to(at::toOpMathType(input.scalar_type()), /*non_blocking=*/false,
                        /*copy=*/true);
  };
  return {output, saved(parameters.mean), saved(parameters.invstd)};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>
batch_norm_mpelu_backward_cpu(const at::Tensor& grad_output, const at::Tensor& input,
                              const OptionalTensor& weight, const OptionalTensor& bias,
                              const at::Tensor& save_mean, const at::Tensor& save_invstd,
                              const at::Tensor& alpha, const OptionalTensor& beta, bool training,
                              double /*eps*/) {
  check_batch_norm_backward("batch_norm_mpelu_backward", grad_output, input, weight, bias,
                            save_mean, save_invstd, alpha, beta);
  const auto x = dense(input);
  const auto g = dense_as(grad_output, x);
  auto grad_input = at::empty_like(x);
  const int64_t channels = x.size(1);
  std::vector<double> weight_sums(channels), bias_sums(channels);
  std::vector<double> alpha_sums(channels), beta_sums(channels);
  if (x.numel() > 0) {
    const Parameters parameters(save_mean, save_invstd, weight, bias, alpha, beta);
    at::native::mpelu_batch_norm_backward_stub(
        at::kCPU, grad_input,
        cpu::BatchNormSums{weight_sums.data(), bias_sums.data(), alpha_sums.data(),
                           beta_sums.data()},
        g, x, parameters.view(), training, channel_layout(x, 1));
  }
  const auto gradient_of = [&](const OptionalTensor& parameter, const std::vector<double>& sums) {
    return is_defined(parameter) ? cpu::gradient(*parameter, sums)
                                 : at::empty({0}, alpha.options());
  };
  return {grad_input, gradient_of(weight, weight_sums), gradient_of(bias, bias_sums),
          gradient_of(alpha, alpha_sums), gradient_of(beta, beta_sums)};
}

}  // namespace

TORCH_LIBRARY_IMPL(mpelu, CPU, m) {
  m.impl("batch_norm_mpelu", &batch_norm_mpelu_cpu);
  m.impl("batch_norm_mpelu_backward", &batch_norm_mpelu_backward_cpu);
}

}  // namespace mpelu
