#pragma once

#include <cstdint>

#include "ops/optional_tensor.h"

// What every backend asks of an operator's arguments, in one place. Each function throws a
// c10::Error that starts with the operator's name, names the argument and shows what was received.
// Sizes are read as symbols, so that the same checks serve the Meta kernels under dynamic shapes.
namespace mpelu {

/// The first of all: dispatch and autograd fail on an undefined tensor before any backend is asked.
void check_defined(const char* op, const at::Tensor& tensor, const char* name);

/// input must be a strided tensor of a supported floating point dtype.
void check_elu(const at::Tensor& input);

/// check_elu, and that input can be written and the gradient told from the output.
void check_elu_inplace(const at::Tensor& input, double alpha);

/// The latter alone: alpha >= 0.
void check_elu_inplace_alpha(double alpha);

void check_elu_backward(const at::Tensor& grad_output, const at::Tensor& input_or_output,
                        double alpha, bool is_result);

/// What check_elu asks, and that dim, alpha and beta fit input. Returns the dimension of the
/// channels, counted from the front: dim, wrapped; 0 for a tensor with fewer than two dimensions. A
/// dim that input does not have is a c10::IndexError, as torch's own ops make it.
int64_t check_mpelu(const at::Tensor& input, const at::Tensor& alpha, const OptionalTensor& beta,
                    int64_t dim);

/// check_mpelu, and that input can be written. Returns the same.
int64_t check_mpelu_inplace(const at::Tensor& input, const at::Tensor& alpha,
                            const OptionalTensor& beta, int64_t dim);

/// Returns what check_mpelu does.
int64_t check_mpelu_backward(const at::Tensor& grad_output, const at::Tensor& input,
                             const at::Tensor& alpha, const OptionalTensor& beta, int64_t dim);

/// What check_mpelu asks with the channels in dim 1, and that weight, bias and the running
/// statistics, which evaluation needs, have an element for each channel. eps is as torch's own
/// batch norm wants it: positive, and in evaluation not negative.
void check_batch_norm_mpelu(const at::Tensor& input, const OptionalTensor& weight,
                            const OptionalTensor& bias, const OptionalTensor& running_mean,
                            const OptionalTensor& running_var, const at::Tensor& alpha,
                            const OptionalTensor& beta, bool training, double eps);

void check_batch_norm_mpelu_backward(const at::Tensor& grad_output, const at::Tensor& input,
                                     const OptionalTensor& weight, const OptionalTensor& bias,
                                     const at::Tensor& save_mean, const at::Tensor& save_invstd,
                                     const at::Tensor& alpha, const OptionalTensor& beta);

}  // namespace mpelu
