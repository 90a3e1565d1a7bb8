#pragma once

#include <ATen/OpMathType.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <array>
#include <limits>

#include "ops/cuda/arguments.h"
#include "ops/cuda/dtype.h"
#include "ops/layout.h"
#include "ops/optional_tensor.h"

// How the kernels' hosts hand tensors and parameters over.
namespace mpelu::cuda {

/// A parameter as the kernels read it, contiguous; a tensor of no element where it is a constant.
class ReadParameter {
 public:
  ReadParameter(const OptionalTensor& parameter, const at::TensorOptions& options)
      : tensor_(parameter ? parameter->to(options).contiguous() : at::empty({0}, options)) {}

  DType dtype() const { return to_dtype(tensor_.scalar_type()); }

  Parameter view(double constant = 1) const {
    return tensor_.numel() > 0
               ? Parameter{.data = tensor_.const_data_ptr(), .count = tensor_.numel()}
               : Parameter{.value = constant};
  }

  /// For a kernel to write; none runs where the input is empty.
  at::Tensor new_gradient(const at::Tensor& input) const {
    return input.numel() > 0 ? at::empty(tensor_.sizes(), tensor_.options())
                             : at::zeros(tensor_.sizes(), tensor_.options());
  }

 private:
  at::Tensor tensor_;
};

/// The parameters in the dtype in which the kernels read them and write their gradients: their own
/// where they have one in common, else that of the arithmetic.
template <typename... Others>
std::array<ReadParameter, 1 + sizeof...(Others)> read_parameters(const at::Tensor& input,
                                                                 const at::Tensor& alpha,
                                                                 const Others&... others) {
  const auto differs = [&](const OptionalTensor& other) {
    return other && other->scalar_type() != alpha.scalar_type();
  };
  const auto options = (differs(others) || ...)
                           ? alpha.options().dtype(at::toOpMathType(input.scalar_type()))
                           : alpha.options();
  return {ReadParameter(alpha, options), ReadParameter(others, options)...};
}

inline BackwardTensors backward_tensors(const Layout& layout, const at::Tensor& grad_output,
                                        const at::Tensor& input, const at::Tensor& grad_input) {
  return {.layout = layout,
          .grad_output = grad_output.const_data_ptr(),
          .input = input.const_data_ptr(),
          .grad_input = grad_input.mutable_data_ptr()};
}

/// The kernels count channels, and blocks that add up a channel's gradients, in 31 bits.
inline void check_channels(const char* op, const Layout& layout, int64_t gradients) {
  const int64_t most = std::numeric_limits<int32_t>::max() / gradients;
  TORCH_CHECK(layout.channels <= most, op, ": expected at most ", most, " channels on CUDA, got ",
              layout.channels);
}

}  // namespace mpelu::cuda
