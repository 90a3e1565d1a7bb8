#include "ops/checks.h"

#include <ATen/MemoryOverlap.h>

namespace mpelu {

void check_defined(const char* op, const at::Tensor& tensor, const char* name) {
  TORCH_CHECK(tensor.defined(), op, ": expected ", name, " to be a tensor, got None");
}

namespace {

bool is_half(at::ScalarType dtype) { return dtype == at::kBFloat16 || dtype == at::kHalf; }

/// parameter must be a strided tensor on input's device and of its dtype, or float for half types.
void check_fits(const char* op, const at::Tensor& input, const at::Tensor& parameter,
                const char* name) {
  check_defined(op, parameter, name);
  TORCH_CHECK(parameter.layout() == at::kStrided, op, ": expected ", name,
              " to be a strided tensor, got layout ", parameter.layout());
  TORCH_CHECK(parameter.device() == input.device(), op, ": expected ", name,
              " on the device of input, ", input.device(), ", got ", parameter.device());
  const bool fits = parameter.scalar_type() == input.scalar_type() ||
                    (is_half(input.scalar_type()) && parameter.scalar_type() == at::kFloat);
  TORCH_CHECK(fits, op, ": expected ", name, " to have the dtype of input, ", input.scalar_type(),
              is_half(input.scalar_type()) ? ", or Float" : "", ", got ", parameter.scalar_type());
}

void check_parameter(const char* op, const at::Tensor& input, const at::Tensor& parameter,
                     const char* name, int64_t dim) {
  const auto channels = input.dim() == 0 ? c10::SymInt(1) : input.sym_size(dim);
  check_fits(op, input, parameter, name);
  TORCH_CHECK(parameter.dim() <= 1, op, ": expected ", name,
              " to be 0-d or 1-d with 1 or C elements, got shape ", parameter.sym_sizes());
  TORCH_CHECK(parameter.sym_numel() == 1 || parameter.sym_numel() == channels, op, ": expected ",
              name, " to have 1 element or one for each of the ", channels, " channels in dim ",
              dim, " of input with shape ", input.sym_sizes(), ", got shape ",
              parameter.sym_sizes());
}

void check_each_channel(const char* op, const at::Tensor& input, const OptionalTensor& parameter,
                        const char* name) {
  if (parameter) {
    check_fits(op, input, *parameter, name);
    TORCH_CHECK(parameter->dim() == 1 && parameter->sym_numel() == input.sym_size(1), op,
                ": expected ", name, " to have one element for each of the ", input.sym_size(1),
                " channels in dim 1 of input with shape ", input.sym_sizes(), ", got shape ",
                parameter->sym_sizes());
  }
}

void check_not_written(const char* op, const at::Tensor& input, const at::Tensor& parameter,
                       const char* name) {
  const auto status = at::get_overlap_status(input, parameter);
  TORCH_CHECK(status != at::MemOverlapStatus::Full && status != at::MemOverlapStatus::Partial, op,
              ": expected ", name,
              " in other memory than input, which is written; clone() it first");
}

/// grad_output must have the shape, dtype and device of input.
void check_grad_output(const char* op, const at::Tensor& grad_output, const at::Tensor& input,
                       const char* input_name = "input") {
  check_defined(op, grad_output, "grad_output");
  TORCH_CHECK(grad_output.layout() == at::kStrided, op,
              ": expected grad_output to be a strided tensor, got layout ", grad_output.layout());
  TORCH_CHECK(grad_output.sym_sizes() == input.sym_sizes(), op,
              ": expected grad_output to have the shape of ", input_name, ", ", input.sym_sizes(),
              ", got ", grad_output.sym_sizes());
  TORCH_CHECK(grad_output.scalar_type() == input.scalar_type(), op,
              ": expected grad_output to have the dtype of ", input_name, ", ", input.scalar_type(),
              ", got ", grad_output.scalar_type());
  TORCH_CHECK(grad_output.device() == input.device(), op,
              ": expected grad_output on the device of ", input_name, ", ", input.device(),
              ", got ", grad_output.device());
}

/// A tensor to be written in place must not have two elements at one address.
void check_inplace(const char* op, const at::Tensor& written, const char* name = "input") {
  TORCH_CHECK(at::has_internal_overlap(written) != at::MemOverlap::Yes, op, ": expected ", name,
              " without elements that share memory, got an expanded tensor of shape ",
              written.sym_sizes(), " and strides ", written.sym_strides(), "; clone() it first");
}

/// Nor may a parameter lie in the memory that is written.
void check_inplace(const char* op, const at::Tensor& input, const at::Tensor& alpha,
                   const OptionalTensor& beta) {
  check_inplace(op, input);
  check_not_written(op, input, alpha, "alpha");
  if (beta) {
    check_not_written(op, input, *beta, "beta");
  }
}

/// dim counted from the front; of fewer than two dimensions, the channels are dim 0.
int64_t wrapped_dim(const char* op, const at::Tensor& input, int64_t dim) {
  // Fewer than two dimensions: the default, 1, still means the channels.
  const int64_t low = input.dim() < 2 ? -1 : -input.dim();
  const int64_t high = input.dim() < 2 ? 1 : input.dim() - 1;
  TORCH_CHECK_INDEX(low <= dim && dim <= high, op, ": expected dim in [", low, ", ", high,
                    "] for input with shape ", input.sym_sizes(), ", got ", dim);
  if (input.dim() < 2) {
    return 0;
  }
  return dim < 0 ? dim + input.dim() : dim;
}

/// input must be a strided tensor of a supported floating point dtype.
void check_input(const char* op, const at::Tensor& input, const char* name = "input") {
  check_defined(op, input, name);
  TORCH_CHECK(input.layout() == at::kStrided, op, ": expected ", name,
              " to be a strided tensor, got layout ", input.layout());
  const auto dtype = input.scalar_type();
  TORCH_CHECK(dtype == at::kDouble || dtype == at::kFloat || is_half(dtype), op, ": expected ",
              name, " of dtype Double, Float, BFloat16 or Half, got ", dtype);
}

/// check_input, and that dim, alpha and beta fit it. Returns dim, wrapped.
int64_t check_parameters(const char* op, const at::Tensor& input, const at::Tensor& alpha,
                         const OptionalTensor& beta, int64_t dim) {
  check_input(op, input);
  const int64_t channel_dim = wrapped_dim(op, input, dim);
  check_parameter(op, input, alpha, "alpha", channel_dim);
  if (beta) {
    check_parameter(op, input, *beta, "beta", channel_dim);
  }
  return channel_dim;
}

/// ELU's gradient can be told from its output only where alpha >= 0.
void check_elu_alpha_not_negative(const char* op, double alpha) {
  TORCH_CHECK(!(alpha < 0), op,
              ": expected alpha >= 0, for the gradient is computed from the output; got ", alpha);
}

/// What the forward of a batch norm and its backward have in common.
void check_batch_norm_parameters(const char* op, const at::Tensor& input,
                                 const OptionalTensor& weight, const OptionalTensor& bias,
                                 const at::Tensor& alpha, const OptionalTensor& beta) {
  check_input(op, input);
  TORCH_CHECK(input.dim() >= 2, op, ": expected input with at least 2 dimensions, got shape ",
              input.sym_sizes());
  check_parameters(op, input, alpha, beta, 1);
  check_each_channel(op, input, weight, "weight");
  check_each_channel(op, input, bias, "bias");
}

}  // namespace

void check_elu(const at::Tensor& input) { check_input("elu", input); }

void check_elu_inplace_alpha(double alpha) { check_elu_alpha_not_negative("elu_", alpha); }

void check_elu_inplace(const at::Tensor& input, double alpha) {
  check_input("elu_", input);
  check_elu_inplace_alpha(alpha);
  check_inplace("elu_", input);
}

void check_elu_backward(const at::Tensor& grad_output, const at::Tensor& input_or_output,
                        double alpha, bool is_result) {
  check_input("elu_backward", input_or_output, "input_or_output");
  check_grad_output("elu_backward", grad_output, input_or_output, "input_or_output");
  if (is_result) {
    check_elu_alpha_not_negative("elu_backward", alpha);
  }
}

int64_t check_mpelu(const at::Tensor& input, const at::Tensor& alpha, const OptionalTensor& beta,
                    int64_t dim) {
  return check_parameters("mpelu", input, alpha, beta, dim);
}

int64_t check_mpelu_inplace(const at::Tensor& input, const at::Tensor& alpha,
                            const OptionalTensor& beta, int64_t dim) {
  const int64_t channel_dim = check_parameters("mpelu_", input, alpha, beta, dim);
  check_inplace("mpelu_", input, alpha, beta);
  return channel_dim;
}

int64_t check_mpelu_backward(const at::Tensor& grad_output, const at::Tensor& input,
                             const at::Tensor& alpha, const OptionalTensor& beta, int64_t dim) {
  const int64_t channel_dim = check_parameters("mpelu_backward", input, alpha, beta, dim);
  check_grad_output("mpelu_backward", grad_output, input);
  return channel_dim;
}

void check_batch_norm_mpelu(const at::Tensor& input, const OptionalTensor& weight,
                            const OptionalTensor& bias, const OptionalTensor& running_mean,
                            const OptionalTensor& running_var, const at::Tensor& alpha,
                            const OptionalTensor& beta, bool training, double eps) {
  constexpr const char* op = "batch_norm_mpelu";
  check_batch_norm_parameters(op, input, weight, bias, alpha, beta);
  check_each_channel(op, input, running_mean, "running_mean");
  check_each_channel(op, input, running_var, "running_var");
  TORCH_CHECK_VALUE(running_mean.has_value() == running_var.has_value(), op,
                    ": expected both running_mean and running_var or neither, got None for ",
                    running_mean ? "running_var" : "running_mean");
  TORCH_CHECK(training || running_mean, op,
              ": expected running_mean and running_var where training is False, got None");
  if (training && running_mean) {
    check_inplace(op, *running_mean, "running_mean");
    check_inplace(op, *running_var, "running_var");
  }
  TORCH_CHECK_VALUE(
      !training || input.sym_numel() != input.sym_size(1) || input.sym_size(1) == 0, op,
      ": expected more than 1 value for each channel where training is True, got input with "
      "shape ",
      input.sym_sizes());
  TORCH_CHECK_VALUE(!(training ? eps <= 0 : eps < 0), op, ": expected eps ",
                    training ? "> 0 where training is True" : ">= 0", ", got ", eps);
}

void check_batch_norm_mpelu_backward(const at::Tensor& grad_output, const at::Tensor& input,
                                     const OptionalTensor& weight, const OptionalTensor& bias,
                                     const at::Tensor& save_mean, const at::Tensor& save_invstd,
                                     const at::Tensor& alpha, const OptionalTensor& beta) {
  constexpr const char* op = "batch_norm_mpelu_backward";
  check_batch_norm_parameters(op, input, weight, bias, alpha, beta);
  check_each_channel(op, input, save_mean, "save_mean");
  check_each_channel(op, input, save_invstd, "save_invstd");
  check_grad_output(op, grad_output, input);
}

}  // namespace mpelu
