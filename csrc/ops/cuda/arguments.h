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

struct StatisticsArguments {
  /// Of from_mean and from_var; mean and invstd are in the type of its arithmetic.
  DType dtype;
  int64_t channels;
  double eps;
  const void* from_mean;
  const void* from_var;
  void* mean;
  void* invstd;
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
  /// 4 * plan.sums() doubles.
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

/// The doubles of workspace that a plan takes: none where the first launch writes the gradients.
inline int64_t workspace_size(const BackwardPlan& plan, const Parameter& alpha,
                              const Parameter& beta) {
  const bool has_beta = beta.data != nullptr;
  const bool one_launch =
      plan.splits == 1 && plan.columns == alpha.count && (!has_beta || plan.columns == beta.count);
  return one_launch ? 0 : plan.sums() * (has_beta ? 2 : 1);
}

}  // namespace mpelu::cuda
