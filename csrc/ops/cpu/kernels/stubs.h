#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/native/DispatchStub.h>
#include <c10/core/DynamicCast.h>

#include "ops/layout.h"

// The CPU kernels as their hosts call them: torch picks the build for this processor's instruction
// set at run time (AVX-512, AVX2 or neither; ATEN_CPU_CAPABILITY overrides).
namespace mpelu::cpu {

/// A number for each channel, or one for all: of a tensor, which has to outlive this, or a
/// constant.
class Parameter {
 public:
  explicit Parameter(double value) : value_(value) {}

  explicit Parameter(const at::TensorBase& tensor)
      : data_(static_cast<const char*>(tensor.const_data_ptr())),
        dtype_(tensor.scalar_type()),
        stride_bytes_(tensor.numel() == 1 ? 0 : tensor.stride(0) * tensor.itemsize()) {}

  /// Whether it is this constant.
  bool is(double value) const { return data_ == nullptr && value_ == value; }

  template <typename T>
  T at(int64_t channel) const {
    return data_ == nullptr ? static_cast<T>(value_)
                            : c10::fetch_and_cast<T>(dtype_, data_ + channel * stride_bytes_);
  }

 private:
  double value_ = 0;
  const char* data_ = nullptr;
  at::ScalarType dtype_ = at::kDouble;
  int64_t stride_bytes_ = 0;
};

/// Where each channel's share of the parameters' gradients goes.
struct ChannelGradients {
  double* alpha;
  double* beta;
};

/// The numbers of each channel of a batch norm and its activation. The statistics are written where
/// the batch's own are asked for.
struct BatchNormParameters {
  double* mean;
  double* invstd;
  Parameter weight;
  Parameter bias;
  Parameter alpha;
  Parameter beta;
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
                           const Parameter& alpha, const Parameter& beta, const Layout& layout);
using BackwardFn = void (*)(const at::TensorBase& grad_input, const ChannelGradients& gradients,
                            const at::TensorBase& grad_output, const at::TensorBase& input,
                            const Parameter& alpha, const Parameter& beta, const Layout& layout);
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
