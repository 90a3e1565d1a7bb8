#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/native/DispatchStub.h>

#include "ops/layout.h"

// The CPU kernels as their hosts call them: torch picks the build for this processor's instruction
// set at run time (AVX-512, AVX2 or neither; ATEN_CPU_CAPABILITY overrides).
namespace mpelu::cpu {

// Parameters come as a number for each of the layout's channels, in double precision, which has the
// numbers of every dtype.

/// Those of an activation; beta is null where it is 1 for all channels.
struct ActivationParameters {
  const double* alpha;
  const double* beta;
};

/// Where each channel's share of their gradients goes.
struct ActivationGradients {
  double* alpha;
  double* beta;
};

/// Those of a batch norm and its activation. The statistics are written where the batch's own are
/// asked for.
struct BatchNormParameters {
  double* mean;
  double* invstd;
  const double* weight;
  const double* bias;
  const double* alpha;
  const double* beta;
};

/// Where each channel's share of their gradients goes.
struct BatchNormGradients {
  double* weight;
  double* bias;
  double* alpha;
  double* beta;
};

// All tensors are dense, not empty and alike in strides; output may be input.
using ForwardFn = void (*)(const at::TensorBase& output, const at::TensorBase& input,
                           const ActivationParameters& parameters, const Layout& layout);
using BackwardFn = void (*)(const at::TensorBase& grad_input, const ActivationGradients& gradients,
                            const at::TensorBase& grad_output, const at::TensorBase& input,
                            const ActivationParameters& parameters, const Layout& layout);
/// With variance, the batch's statistics are computed first.
using BatchNormFn = void (*)(const at::TensorBase& output, const at::TensorBase& input,
                             const BatchNormParameters& parameters, double* variance, double eps,
                             const Layout& layout);
using BatchNormBackwardFn = void (*)(const at::TensorBase& grad_input,
                                     const BatchNormGradients& gradients,
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
