#pragma once

#include <cstdint>
#include <ostream>

#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <mpelu/export.h>

/// The activations as torch::nn modules. Their parameters are called alpha and beta, as in Python,
/// so that the keys of a state dict are the same on both sides.
namespace mpelu::nn {

/// Options for the `ELU` module.
///
/// Example:
/// ```
/// ELU model(ELUOptions().alpha(0.5).inplace(true));
/// ```
struct MPELU_API ELUOptions {
  /* implicit */ ELUOptions(double alpha = 1.0);

  /// The value that the negative part saturates at, negated. Default: 1.0
  TORCH_ARG(double, alpha);

  /// Whether to overwrite the input; needs alpha >= 0. Default: false
  TORCH_ARG(bool, inplace) = false;
};

/// Exponential linear unit with a fixed alpha: x where x > 0, else alpha * expm1(x). With alpha = 0
/// it is exactly ReLU. Source: Clevert et al. 2016 (arXiv:1511.07289), Caffe's ELU layer.
///
/// Shape: input and output are of the same, any, shape.
/// Throws c10::Error if alpha is NaN or infinite, or negative where inplace is true.
class MPELU_API ELUImpl : public torch::nn::Cloneable<ELUImpl> {
 public:
  explicit ELUImpl(const ELUOptions& options_ = {});

  at::Tensor forward(at::Tensor input);

  void reset() override;

  /// Pretty prints the `ELU` module into the given `stream`.
  void pretty_print(std::ostream& stream) const override;

  /// The options with which this `Module` was constructed.
  ELUOptions options;
};

/// A `ModuleHolder` subclass for `ELUImpl`.
TORCH_MODULE(ELU);

/// Options for the `SPELU` module.
///
/// Example:
/// ```
/// SPELU model(SPELUOptions(16).alpha(0.25));
/// ```
struct MPELU_API SPELUOptions {
  /* implicit */ SPELUOptions(int64_t num_parameters = 1);

  /// The number of alphas: 1 (shared by all channels) or the number of channels. Default: 1
  TORCH_ARG(int64_t, num_parameters);

  /// The value that alpha starts from. Default: 1.0
  TORCH_ARG(double, alpha) = 1.0;

  /// The channel dimension; a 1-d or 0-d input has its channels in dimension 0. Default: 1
  TORCH_ARG(int64_t, dim) = 1;
};

/// ELU with a learned alpha: x where x > 0, else alpha_c * expm1(x). The same as `MPELU` with a
/// fixed beta = 1. Source: Li et al. 2016 (arXiv:1606.00305).
///
/// Shape: input and output are of the same, any, shape, with the channels in dimension dim.
/// Throws c10::Error if num_parameters < 1 or alpha is NaN or infinite.
class MPELU_API SPELUImpl : public torch::nn::Cloneable<SPELUImpl> {
 public:
  explicit SPELUImpl(const SPELUOptions& options_ = {});

  at::Tensor forward(const at::Tensor& input);

  void reset() override;

  /// Sets alpha to the value of the options.
  void reset_parameters();

  /// Pretty prints the `SPELU` module into the given `stream`.
  void pretty_print(std::ostream& stream) const override;

  /// The options with which this `Module` was constructed.
  SPELUOptions options;

  /// The learned alpha, [num_parameters].
  at::Tensor alpha;
};

/// A `ModuleHolder` subclass for `SPELUImpl`.
TORCH_MODULE(SPELU);

/// Options for the `MPELU` module.
///
/// Example:
/// ```
/// MPELU model(MPELUOptions(16).alpha(0.25).beta(1.0));
/// ```
struct MPELU_API MPELUOptions {
  /* implicit */ MPELUOptions(int64_t num_parameters = 1);

  /// The number of alphas and of betas: 1 (shared by all channels) or the number of channels.
  /// Default: 1
  TORCH_ARG(int64_t, num_parameters);

  /// The value that alpha starts from. Default: 1.0
  TORCH_ARG(double, alpha) = 1.0;

  /// The value that beta starts from. Default: 1.0
  TORCH_ARG(double, beta) = 1.0;

  /// The channel dimension; a 1-d or 0-d input has its channels in dimension 0. Default: 1
  TORCH_ARG(int64_t, dim) = 1;
};

/// Multiple parametric ELU, alpha and beta are learned: x where x > 0, else
/// alpha_c * expm1(beta_c * x). Source: Li et al. 2016 (arXiv:1606.00305), Caffe's M2PELU layer,
/// Torch7's nn.MPELU.
///
/// Shape: input and output are of the same, any, shape, with the channels in dimension dim.
/// Throws c10::Error if num_parameters < 1, or alpha or beta is NaN or infinite.
class MPELU_API MPELUImpl : public torch::nn::Cloneable<MPELUImpl> {
 public:
  explicit MPELUImpl(const MPELUOptions& options_ = {});

  at::Tensor forward(const at::Tensor& input);

  void reset() override;

  /// Sets alpha and beta to the values of the options.
  void reset_parameters();

  /// Pretty prints the `MPELU` module into the given `stream`.
  void pretty_print(std::ostream& stream) const override;

  /// The options with which this `Module` was constructed.
  MPELUOptions options;

  /// The learned alpha, [num_parameters].
  at::Tensor alpha;

  /// The learned beta, [num_parameters].
  at::Tensor beta;
};

/// A `ModuleHolder` subclass for `MPELUImpl`.
TORCH_MODULE(MPELU);

}  // namespace mpelu::nn
