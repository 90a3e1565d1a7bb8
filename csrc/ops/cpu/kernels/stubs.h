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

/// What each channel of a batch normalised activation has, as doubles. The statistics are written
/// where the batch's own are asked for.
struct BatchNormParameters {
  double* mean;
  double* invstd;
  Parameter weight;
  Parameter bias;
  Parameter alpha;
  Parameter beta;
};

/// The sums for their gradients, one for each channel.
struct BatchNormSums {
  double* weight;
  double* bias;
  double* alpha;
  double* beta;
};

// All tensors are dense, not empty and alike in strides; output may be input.
using ForwardFn = void (*)(const at::TensorBase& output, const at::TensorBase& input,
                           const Parameter& alpha, const Parameter& beta, const Layout& layout);
using BackwardFn = void (*)(const at::TensorBase& grad_input, const ChannelSums& sums,
                            const at::TensorBase& grad_output, const at::TensorBase& input,
                            const Parameter& alpha, const Parameter& beta, const Layout& layout);
/// With variance, the batch's statistics are computed first.
using BatchNormFn = void (*)(const at::TensorBase& output, const at::TensorBase& input,
                             const BatchNormParameters& parameters, double* variance, double eps,
                             const Layout& layout);
using BatchNormBackwardFn = void (*)(const at::TensorBase& grad_input, const BatchNormSums& sums,
                                     const at::TensorBase& grad_output, const at::TensorBase& input,
                                     const BatchNormParameters& parameters, bool training,
                                     const Layout& layout);
using EluBackwardFn = void (*)(const at::TensorBase& grad_input, const at::TensorBase& grad_output,
                               const at::TensorBase& input_or_output, double alpha, bool is_result);

}  // namespace mpelu::cpu

// DispatchStub's macros and its tables belong to this namespace.
namespace at::native {

DECLARE_DISPATCH(mpelu::cpu::ForwardFn, mpelu_stub)
DECLARE_DISPATCH(mpelu::cpu::BackwardFn, mpelu_backward_stub)
DECLARE_DISPATCH(mpelu::cpu::BatchNormFn, mpelu_batch_norm_stub)
DECLARE_DISPATCH(mpelu::cpu::BatchNormBackwardFn, mpelu_batch_norm_backward_stub)
DECLARE_DISPATCH(mpelu::cpu::EluBackwardFn, mpelu_elu_backward_stub)

}  // namespace at::native
