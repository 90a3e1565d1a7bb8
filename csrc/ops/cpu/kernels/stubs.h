#pragma once

#include <ATen/core/Tensor.h>

#include <array>

#include "ops/layout.h"

// The CPU kernels as their hosts call them: of the builds for several instruction sets, a call
// takes the one that torch would.
namespace mpelu::cpu {

/// The instruction sets that kernels are built for, by the names that the macro CPU_CAPABILITY has.
enum class Capability { DEFAULT, AVX2, AVX512 };

/// Torch's choice among them for this process: by its processor, or by ATEN_CPU_CAPABILITY.
Capability capability();

/// The builds of a kernel. at::native::DispatchStub would do, but the symbol of libtorch that it
/// needs is another one for each list of instruction sets that torch itself is built for.
template <typename Fn>
class Stub {
 public:
  void add(Capability capability, Fn kernel) { builds_[static_cast<size_t>(capability)] = kernel; }

  template <typename... Args>
  void operator()(const Args&... args) const {
    builds_[static_cast<size_t>(capability())](args...);
  }

 private:
  std::array<Fn, 3> builds_{};
};

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

extern Stub<ForwardFn> mpelu_stub;
extern Stub<BackwardFn> mpelu_backward_stub;
extern Stub<BatchNormFn> batch_norm_mpelu_stub;
extern Stub<BatchNormBackwardFn> batch_norm_mpelu_backward_stub;
extern Stub<EluBackwardFn> elu_backward_stub;

}  // namespace mpelu::cpu
