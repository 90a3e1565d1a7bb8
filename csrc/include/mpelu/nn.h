#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <ostream>

#include <torch/nn/cloneable.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <mpelu/export.h>

/// The activations as torch::nn modules, and the batch norms with an activation. Their parameters
/// are called alpha and beta, as in Python, so that the keys of a state dict are the same on both
/// sides.
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

/// Options for the `BatchNormMPELU1d`, `BatchNormMPELU2d` and `BatchNormMPELU3d` modules.
///
/// Example:
/// ```
/// BatchNormMPELU2d model(BatchNormMPELU2dOptions(16).alpha(0.25).momentum(0.01));
/// ```
struct MPELU_API BatchNormMPELUOptions {
  /* implicit */ BatchNormMPELUOptions(int64_t num_features);

  /// C, the number of channels.
  TORCH_ARG(int64_t, num_features);

  /// The value that alpha starts from. Default: 1.0
  TORCH_ARG(double, alpha) = 1.0;

  /// The value that beta starts from; std::nullopt for SPELU, without a beta. Default: 1.0
  TORCH_ARG(std::optional<double>, beta) = 1.0;

  /// Added to the variance. Default: 1e-5
  TORCH_ARG(double, eps) = 1e-5;

  /// How far a batch moves the running statistics; std::nullopt for the average of all batches.
  /// Default: 0.1
  TORCH_ARG(std::optional<double>, momentum) = 0.1;

  /// Whether to learn a weight and a bias. Default: true
  TORCH_ARG(bool, affine) = true;

  /// Whether to keep running statistics for evaluation. Default: true
  TORCH_ARG(bool, track_running_stats) = true;

  /// The number of alphas and of betas: 1 (shared by all channels) or C. Default: C
  TORCH_ARG(std::optional<int64_t>, num_parameters) = std::nullopt;
};

/// Options for the `BatchNormMPELU1d` module.
using BatchNormMPELU1dOptions = BatchNormMPELUOptions;

/// Options for the `BatchNormMPELU2d` module.
using BatchNormMPELU2dOptions = BatchNormMPELUOptions;

/// Options for the `BatchNormMPELU3d` module.
using BatchNormMPELU3dOptions = BatchNormMPELUOptions;

/// Base of the batch norms with an activation, of inputs with D dimensions after the channels.
///
/// Computes what torch::nn::BatchNorm{D}d and then `MPELU` (without a beta, `SPELU`) would, for any
/// sign of weight, alpha and beta, and keeps one tensor of the input's size less for the backward:
/// the normalised one is computed anew. Source: Ioffe and Szegedy 2015 (arXiv:1502.03167), Li et
/// al. 2016 (arXiv:1606.00305).
///
/// weight, bias, running_mean, running_var and num_batches_tracked are those of torch's batch
/// norms, under the same names; undefined where affine or track_running_stats is false. Inputs are
/// float64, float32, bfloat16 or float16, with parameters and statistics of the same dtype or, for
/// the last two, of float32.
///
/// The constructor throws c10::Error if num_features < 1, num_parameters is neither 1 nor
/// num_features, or alpha or beta is NaN or infinite; forward() if the input has another number of
/// dimensions or of channels, or, where the batch's own statistics are used, one value a channel.
template <size_t D, typename Derived>
class MPELU_API BatchNormMPELUImplBase
    : public torch::nn::NormImplBase<D, Derived, BatchNormMPELUOptions> {
 public:
  explicit BatchNormMPELUImplBase(const BatchNormMPELUOptions& options_);

  at::Tensor forward(const at::Tensor& input);

  void reset() override;

  /// Resets the batch norm, and sets alpha and beta to the values of the options.
  void reset_parameters();

  /// Pretty prints the module into the given `stream`.
  void pretty_print(std::ostream& stream) const override;

  /// The learned alpha, [num_parameters].
  at::Tensor alpha;

  /// The learned beta, [num_parameters]; undefined without a beta.
  at::Tensor beta;

 protected:
  void _check_input_dim(const at::Tensor& input) override;

 private:
  using Base = torch::nn::NormImplBase<D, Derived, BatchNormMPELUOptions>;

  void register_activation();
};

/// Batch norm and the `MPELU` that follows it, in one. See `BatchNormMPELUImplBase`.
///
/// Shape: input [N, C] or [N, C, L], output the same.
class MPELU_API BatchNormMPELU1dImpl : public BatchNormMPELUImplBase<1, BatchNormMPELU1dImpl> {
 public:
  using BatchNormMPELUImplBase<1, BatchNormMPELU1dImpl>::BatchNormMPELUImplBase;
};

/// A `ModuleHolder` subclass for `BatchNormMPELU1dImpl`.
TORCH_MODULE(BatchNormMPELU1d);

/// Batch norm and the `MPELU` that follows it, in one. See `BatchNormMPELUImplBase`.
///
/// Shape: input [N, C, H, W], output the same.
class MPELU_API BatchNormMPELU2dImpl : public BatchNormMPELUImplBase<2, BatchNormMPELU2dImpl> {
 public:
  using BatchNormMPELUImplBase<2, BatchNormMPELU2dImpl>::BatchNormMPELUImplBase;
};

/// A `ModuleHolder` subclass for `BatchNormMPELU2dImpl`.
TORCH_MODULE(BatchNormMPELU2d);

/// Batch norm and the `MPELU` that follows it, in one. See `BatchNormMPELUImplBase`.
///
/// Shape: input [N, C, D, H, W], output the same.
class MPELU_API BatchNormMPELU3dImpl : public BatchNormMPELUImplBase<3, BatchNormMPELU3dImpl> {
 public:
  using BatchNormMPELUImplBase<3, BatchNormMPELU3dImpl>::BatchNormMPELUImplBase;
};

/// A `ModuleHolder` subclass for `BatchNormMPELU3dImpl`.
TORCH_MODULE(BatchNormMPELU3d);

}  // namespace mpelu::nn
