#pragma once

#include <cstdint>

#include "ops/optional_tensor.h"

// What every backend asks of its arguments, in one place. Each function throws a c10::Error that
// starts with the operator's name, names the argument and shows what was received. Sizes are read
// as symbols, so that the same checks serve the Meta kernels under dynamic shapes.
namespace mpelu {

/// input must be a strided tensor of a supported floating point dtype.
void check_input(const char* op, const at::Tensor& input, const char* name = "input");

/// check_input, and that dim, alpha and beta fit it. Returns the dimension of the channels, counted
/// from the front: dim, wrapped; 0 for a tensor with fewer than two dimensions. A dim that input
/// does not have is a c10::IndexError, as torch's own ops make it.
int64_t check_parameters(const char* op, const at::Tensor& input, const at::Tensor& alpha,
                         const OptionalTensor& beta, int64_t dim);

/// check_parameters with the channels in dim 1, and that weight, bias and the running statistics,
/// which evaluation needs, have an element for each channel.
void check_batch_norm(const char* op, const at::Tensor& input, const OptionalTensor& weight,
                      const OptionalTensor& bias, const OptionalTensor& running_mean,
                      const OptionalTensor& running_var, const at::Tensor& alpha,
                      const OptionalTensor& beta, bool training);

/// The same for its backward.
void check_batch_norm_backward(const char* op, const at::Tensor& grad_output,
                               const at::Tensor& input, const OptionalTensor& weight,
                               const OptionalTensor& bias, const at::Tensor& save_mean,
                               const at::Tensor& save_invstd, const at::Tensor& alpha,
                               const OptionalTensor& beta);

/// What mpelu_ asks of its arguments. Returns what check_parameters does.
int64_t check_mpelu_inplace(const at::Tensor& input, const at::Tensor& alpha,
                            const OptionalTensor& beta, int64_t dim);

/// What mpelu_backward does.
int64_t check_mpelu_backward(const at::Tensor& grad_output, const at::Tensor& input,
                             const at::Tensor& alpha, const OptionalTensor& beta, int64_t dim);

/// ELU's gradient can be told from its output only where alpha >= 0.
void check_elu_alpha_not_negative(const char* op, double alpha);

/// What elu_ asks of its arguments.
void check_elu_inplace(const at::Tensor& input, double alpha);

/// What elu_backward does.
void check_elu_backward(const at::Tensor& grad_output, const at::Tensor& input_or_output,
                        double alpha, bool is_result);

}  // namespace mpelu
