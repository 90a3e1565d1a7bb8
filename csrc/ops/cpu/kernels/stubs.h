#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/native/DispatchStub.h>

#include "ops/layout.h"

// The CPU kernels as their hosts call them: torch picks the build for this processor's instruction
// set at run time (AVX-512, AVX2 or neither; ATEN_CPU_CAPABILITY overrides).
namespace mpelu::cpu {

/// alpha or beta: one number for every channel, or an array of them in the dtype of the arithmetic,
/// read with a stride of 0 or 1.
struct Parameter {
  const void* data = nullptr;
  int64_t stride = 0;
  double value = 1.0;

  template <typename T>
  T at(int64_t channel) const {
    return data == nullptr ? static_cast<T>(value) : static_cast<const T*>(data)[channel * stride];
  }
};

/// The sums for the parameters' gradients, one for each channel.
struct ChannelSums {
  double* alpha;
  double* beta;
};

// All tensors are dense, not empty and alike in strides; output may be input.
using ForwardFn = void (*)(const at::TensorBase& output, const at::TensorBase& input,
                           const Parameter& alpha, const Parameter& beta, const Layout& layout);
using BackwardFn = void (*)(const at::TensorBase& grad_input, const ChannelSums& sums,
                            const at::TensorBase& grad_output, const at::TensorBase& input,
                            const Parameter& alpha, const Parameter& beta, const Layout& layout);
using EluBackwardFn = void (*)(const at::TensorBase& grad_input, const at::TensorBase& grad_output,
                               const at::TensorBase& input_or_output, double alpha, bool is_result);

}  // namespace mpelu::cpu

// DispatchStub's macros and its tables belong to this namespace.
namespace at::native {

DECLARE_DISPATCH(mpelu::cpu::ForwardFn, mpelu_stub)
DECLARE_DISPATCH(mpelu::cpu::BackwardFn, mpelu_backward_stub)
DECLARE_DISPATCH(mpelu::cpu::EluBackwardFn, mpelu_elu_backward_stub)

}  // namespace at::native
