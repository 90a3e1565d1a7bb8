#pragma once

#include <mpelu/export.h>

#include <tuple>

#include "ops/optional_tensor.h"

// The operators written in ATen's own differentiable ones. Slower than the kernels, but every
// transform knows how to go through them: vmap, forward mode and higher derivatives use these, and
// so do exported programs for what does not know the operators.
// For finite parameters their results are the kernels' but for rounding and the signs of zeros;
// those within a few orders of magnitude of the largest or the smallest number may differ by more.
namespace mpelu::formula {

MPELU_API at::Tensor elu(const at::Tensor& input, double alpha);
at::Tensor& elu_(at::Tensor& input, double alpha);
MPELU_API at::Tensor elu_backward(const at::Tensor& grad_output, const at::Tensor& input_or_output,
                                  double alpha, bool is_result);

MPELU_API at::Tensor mpelu(const at::Tensor& input, const at::Tensor& alpha,
                           const OptionalTensor& beta, int64_t dim);
at::Tensor& mpelu_(at::Tensor& input, const at::Tensor& alpha, const OptionalTensor& beta,
                   int64_t dim);
MPELU_API std::tuple<at::Tensor, at::Tensor, at::Tensor> mpelu_backward(
    const at::Tensor& grad_output, const at::Tensor& input, const at::Tensor& alpha,
    const OptionalTensor& beta, int64_t dim);

MPELU_API std::tuple<at::Tensor, at::Tensor, at::Tensor> batch_norm_mpelu(
    const at::Tensor& input, const OptionalTensor& weight, const OptionalTensor& bias,
    const OptionalTensor& running_mean, const OptionalTensor& running_var, const at::Tensor& alpha,
    const OptionalTensor& beta, bool training, double momentum, double eps);
MPELU_API std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>
batch_norm_mpelu_backward(const at::Tensor& grad_output, const at::Tensor& input,
                          const OptionalTensor& weight, const OptionalTensor& bias,
                          const at::Tensor& save_mean, const at::Tensor& save_invstd,
                          const at::Tensor& alpha, const OptionalTensor& beta, bool training,
                          double eps);

}  // namespace mpelu::formula
