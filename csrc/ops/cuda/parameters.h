#pragma once

#include <ATen/OpMathType.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <limits>

#include "ops/checks.h"
#include "ops/cuda/arguments.h"
#include "ops/cuda/dtype.h"
#include "ops/dense.h"

// How the kernels' hosts hand parameters over.
namespace mpelu::cuda {

/// With the dtype in which the kernels read parameters and write their gradients: the parameters'
/// own where they have one in common, else that of the arithmetic.
template <typename... Others>
at::TensorOptions parameter_options(const at::Tensor& input, const at::Tensor& alpha,
                                    const Others&... others) {
  const auto differs = [&](const std::optional<at::Tensor>& other) {
    return is_defined(other) && other->scalar_type() != alpha.scalar_type();
  };
  return (differs(others) || ...) ? alpha.options().dtype(at::toOpMathType(input.scalar_type()))
                                  : alpha.options();
}

/// A parameter in that dtype, contiguous; a tensor of no element where it is a constant.
class ReadParameter {
 public:
  ReadParameter(const std::optional<at::Tensor>& parameter, const at::TensorOptions& options,
                double constant = 1)
      : tensor_(is_defined(parameter) ? parameter->to(options).contiguous()
                                      : at::empty({0}, options)),
        constant_(constant) {}

  DType dtype() const { return to_dtype(tensor_.scalar_type()); }

  Parameter view() const {
    return tensor_.numel() > 0
               ? Parameter{.data = tensor_.const_data_ptr(), .count = tensor_.numel()}
               : Parameter{.value = constant_};
  }

  /// For a kernel to write; none runs where the input is empty.
  at::Tensor new_gradient(const at::Tensor& input) const {
    return input.numel() > 0 ? at::empty(tensor_.sizes(), tensor_.options())
                             : at::zeros(tensor_.sizes(), tensor_.options());
  }

 private:
  at::Tensor tensor_;
  double constant_;
};

/// The kernels count channels, and blocks that add up a channel's gradients, in 31 bits.
inline void check_channels(const char* op, const Layout& layout, int64_t gradients = 1) {
  const int64_t most = std::numeric_limits<int32_t>::max() / gradients;
  TORCH_CHECK(layout.channels <= most, op, ": expected at most ", most, " channels on CUDA, got ",
              layout.channels);
}

}  // namespace mpelu::cuda
