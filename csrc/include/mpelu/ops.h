#pragma once

#include <ATen/core/Tensor.h>
#include <mpelu/export.h>

#include <cstdint>
#include <optional>
#include <tuple>

/// The operators, as torch.ops.mpelu has them. All go through torch's dispatcher: autograd, CPU and
/// CUDA kernels, torch.func's transforms. Inputs are float64, float32, bfloat16 or float16 tensors
/// of any shape and strides; outputs have the shape, dtype and dense strides that
/// torch::prelu(input, weight) would give. What does not fit is a c10::Error that names the
/// argument.
namespace mpelu {

/// ELU (Clevert et al. 2016): x for x > 0, alpha * expm1(x) for x <= 0. alpha = 0 is ReLU.
MPELU_API at::Tensor elu(const at::Tensor& input, double alpha = 1.0);

/// elu() in place. alpha must not be negative: the gradient is computed from the output.
MPELU_API at::Tensor& elu_(at::Tensor& input, double alpha = 1.0);

/// The gradient of elu() with respect to its input, from the input or, with is_result, from the
/// output (alpha >= 0).
MPELU_API at::Tensor elu_backward(const at::Tensor& grad_output, const at::Tensor& input_or_output,
                                  double alpha = 1.0, bool is_result = false);

/// MPELU (Li et al. 2016, arXiv:1606.00305): x for x > 0, alpha_c * expm1(beta_c * x) for x <= 0.
///
/// alpha and beta are 0-d or have 1 or C elements, C the size of dimension dim (a tensor of fewer
/// than two dimensions has its channels in dimension 0); their dtype is the input's, or float32 for
/// a bfloat16 or float16 input. Without beta it is SPELU, beta = 1.
MPELU_API at::Tensor mpelu(const at::Tensor& input, const at::Tensor& alpha,
                           const std::optional<at::Tensor>& beta = std::nullopt, int64_t dim = 1);

/// mpelu() in place, only where no gradient is needed.
MPELU_API at::Tensor& mpelu_(at::Tensor& input, const at::Tensor& alpha,
                             const std::optional<at::Tensor>& beta = std::nullopt, int64_t dim = 1);

/// SPELU: mpelu() with beta = 1.
MPELU_API at::Tensor spelu(const at::Tensor& input, const at::Tensor& alpha, int64_t dim = 1);

/// The gradients of mpelu() with respect to input, alpha and beta, each in its own shape and dtype;
/// the last is an empty tensor where there is no beta. The sums are in a fixed order: equal to the
/// bit from run to run, on the CPU for any number of threads.
MPELU_API std::tuple<at::Tensor, at::Tensor, at::Tensor> mpelu_backward(
    const at::Tensor& grad_output, const at::Tensor& input, const at::Tensor& alpha,
    const std::optional<at::Tensor>& beta = std::nullopt, int64_t dim = 1);

/// Batch norm over dimension 1, then mpelu() with the channels there, as one operator: the
/// normalised value is computed anew for the backward instead of being kept.
///
/// weight, bias and the running statistics have C elements each, or are left out; alpha and beta
/// are those of mpelu(). With training the batch's own statistics normalise it, and the running
/// ones move towards them by momentum; without, the running ones do. Returns the output, and the
/// mean and 1 / sqrt(var + eps) that normalised it, which are not differentiable.
MPELU_API std::tuple<at::Tensor, at::Tensor, at::Tensor> batch_norm_mpelu(
    const at::Tensor& input, const std::optional<at::Tensor>& weight,
    const std::optional<at::Tensor>& bias, const std::optional<at::Tensor>& running_mean,
    const std::optional<at::Tensor>& running_var, const at::Tensor& alpha,
    const std::optional<at::Tensor>& beta, bool training, double momentum, double eps);

/// The gradients of batch_norm_mpelu() with respect to input, weight, bias, alpha and beta, each in
/// its own shape and dtype; empty for those that are left out.
MPELU_API std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>
batch_norm_mpelu_backward(const at::Tensor& grad_output, const at::Tensor& input,
                          const std::optional<at::Tensor>& weight,
                          const std::optional<at::Tensor>& bias, const at::Tensor& save_mean,
                          const at::Tensor& save_invstd, const at::Tensor& alpha,
                          const std::optional<at::Tensor>& beta, bool training, double eps);

}  // namespace mpelu
