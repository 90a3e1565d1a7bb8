#pragma once

#include <optional>
#include <string_view>

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <mpelu/export.h>

/// Taylor initialisation: weights that keep the variance of the signal from layer to layer where
/// the activation is of the ELU family, by the activation's first-order expansion at zero. Source:
/// Li et al. 2016 (arXiv:1606.00305); for alpha = 0 it is He et al. 2015 (arXiv:1502.01852).
namespace mpelu::init {

/// The n in the formula: a layer's inputs, its outputs, or the mean of both.
enum class FanMode { FanIn, FanOut, FanAvg };

enum class Distribution { Normal, Uniform };

/// "fan_in", "fan_out" or "fan_avg" as a `FanMode`; throws c10::ValueError for anything else.
MPELU_API FanMode parse_fan_mode(std::string_view mode);

/// The fan of a weight of shape [out, in, kernel...], as in torch.nn.init: fan_in = in * kernel
/// elements, fan_out = out * kernel elements. Throws c10::ValueError below 2 dimensions.
MPELU_API double calculate_fan(at::IntArrayRef weight_shape, FanMode mode);

/// The standard deviation sqrt(2 / (n (1 + alpha^2 beta^2))). Throws c10::ValueError unless n > 0
/// and alpha, beta and their product are finite.
MPELU_API double taylor_std(double n, double alpha, double beta);

/// Fills tensor, a weight of two dimensions or more, with N(0, std^2), std = `taylor_std` of its
/// fan. Any floating point dtype; an empty tensor stays as it is. Returns tensor.
MPELU_API at::Tensor taylor_normal_(at::Tensor tensor, double alpha = 1.0, double beta = 1.0,
                                    FanMode mode = FanMode::FanIn,
                                    std::optional<at::Generator> generator = std::nullopt);

/// As `taylor_normal_`, with U(-sqrt(3) std, sqrt(3) std), which has the same standard deviation.
MPELU_API at::Tensor taylor_uniform_(at::Tensor tensor, double alpha = 1.0, double beta = 1.0,
                                     FanMode mode = FanMode::FanIn,
                                     std::optional<at::Generator> generator = std::nullopt);

/// Initialises every convolution, transposed convolution and linear layer of a model; biases
/// become 0.
///
/// Each weight gets the alpha and beta of the activation that follows its layer in its
/// torch::nn::Sequential (a subclass inside of it counts as a part of it), past batch
/// normalisation, dropout, pooling, Identity and Flatten: ELU, SPELU, MPELU or BatchNormMPELU (of
/// one alpha or beta per channel, the mean of alpha^2 beta^2 is taken), torch's ELU, PReLU and
/// LeakyReLU (the slope is alpha beta) or ReLU (alpha = 0). Every other layer (a last one, one
/// outside of a Sequential) gets the arguments alpha and beta; one that is not given is 1.
///
/// The weights of transposed convolutions are [in, out, kernel...]: their fan_in and fan_out are
/// swapped. Each group of a convolution has fans of its own.
///
/// Throws c10::ValueError, with the model untouched, that names the layers whose activation cannot
/// be told where neither alpha nor beta is given.
MPELU_API void taylor_init_(torch::nn::Module& module, std::optional<double> alpha = std::nullopt,
                            std::optional<double> beta = std::nullopt,
                            FanMode mode = FanMode::FanIn,
                            Distribution distribution = Distribution::Normal,
                            std::optional<at::Generator> generator = std::nullopt);

}  // namespace mpelu::init
