#pragma once

#include <cstdint>

#include "ops/cuda/geometry.h"
#include "ops/layout.h"

/// What the hosts hand to the kernels: no type of torch, no template. Tensors are dense and of one
/// layout; pointers are to device memory.
namespace mpelu::cuda {

enum class DType { Float64, Float32, Float16, BFloat16 };

/// `count` elements, 1 or one per channel, or the constant `value` where data is null.
struct Parameter {
  const void* data = nullptr;
  int64_t count = 1;
  double value = 1;
};

struct ForwardArguments {
  DType dtype;
  /// dtype, or Float32 where dtype is a half type.
  DType parameter_dtype;
  Layout layout;
  const void* input;
  void* output;
  Parameter alpha;
  Parameter beta;
};

struct BackwardTensors {
  Layout layout;
  const void* grad_output;
  const void* input;
  void* grad_input;

  bool are_aligned() const { return cuda::are_aligned(grad_output, input, grad_input); }
};

struct BackwardArguments {
  DType dtype;
  DType parameter_dtype;
  BackwardTensors tensors;
  Parameter alpha;
  Parameter beta;
  /// As many elements as their parameters have; grad_beta is null where beta is a constant.
  void* grad_alpha;
  void* grad_beta;
  /// workspace_size(...) doubles; null where that is 0.
  double* workspace;
};

struct RunningStatisticsArguments {
  /// Of the running statistics; mean and invstd are in the type of its arithmetic.
  DType dtype;
  int64_t channels;
  double eps;
  const void* running_mean;
  const void* running_var;
  void* mean;
  void* invstd;
};

struct BatchStatisticsArguments {
  DType dtype;
  Layout layout;
  const void* input;
  double momentum;
  double eps;
  /// In the type of the arithmetic, an element for each channel; running ones may be null.
  void* running_mean;
  void* running_var;
  void* mean;
  void* invstd;
  /// statistics_workspace_size(...) doubles; null where that is 0.
  double* workspace;
};

struct BatchNormParameters {
  /// An element for each channel, in the type of the arithmetic.
  const void* mean;
  const void* invstd;
  Parameter weight;
  Parameter bias;
  Parameter alpha;
  Parameter beta;
};

struct BatchNormForwardArguments {
  DType dtype;
  DType parameter_dtype;
  Layout layout;
  const void* input;
  void* output;
  BatchNormParameters parameters;
};

struct BatchNormBackwardArguments {
  DType dtype;
  DType parameter_dtype;
  BackwardTensors tensors;
  BatchNormParameters parameters;
  /// As many elements as their parameters have; null for those that are constants.
  void* grad_weight;
  void* grad_bias;
  void* grad_alpha;
  void* grad_beta;
  /// [2, channels] in the type of the arithmetic; null where the statistics are constants.
  void* means;
  /// batch_norm_workspace_size(...) doubles; null where that is 0.
  double* workspace;
};

struct EluBackwardArguments {
  DType dtype;
  int64_t numel;
  const void* grad_output;
  const void* input_or_output;
  void* grad_input;
  double alpha;
  bool is_result;
};

// The doubles of workspace that a plan takes: none where the first launch has each channel's sums.

inline int64_t workspace_size(const Plan& plan, const Parameter& alpha, const Parameter& beta) {
  const bool has_beta = beta.data != nullptr;
  return plan.sums_each(alpha.count) && (!has_beta || plan.sums_each(beta.count))
             ? 0
             : plan.sums() * (has_beta ? 2 : 1);
}

inline int64_t batch_norm_workspace_size(const Plan& plan, const Layout& layout,
                                         const Parameter& alpha, const Parameter& beta) {
  return plan.sums_each(layout.channels) && workspace_size(plan, alpha, beta) == 0
             ? 0
             : 4 * plan.sums();
}

inline int64_t statistics_workspace_size(const Plan& plan, const Layout& layout) {
  return plan.sums_each(layout.channels) ? 0 : 3 * plan.sums();
}

}  // namespace mpelu::cuda
