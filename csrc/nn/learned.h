#pragma once

#include <torch/nn/module.h>

#include <optional>

namespace mpelu::nn {

/// The learned parameters of an activation.
struct LearnedParameters {
  at::Tensor alpha;
  at::Tensor beta;  ///< undefined where there is none: SPELU, beta = 1
};

/// Those of an activation, or of a module with one fused into it; nothing for any other module.
std::optional<LearnedParameters> learned_parameters(const torch::nn::Module& module);

}  // namespace mpelu::nn
