#pragma once

#include <torch/nn/module.h>

#include <optional>

namespace mpelu::nn {

/// What an activation learns.
struct Learned {
  at::Tensor alpha;
  at::Tensor beta;  ///< undefined where there is none: SPELU, beta = 1
};

/// The alpha and beta of a module that is an activation or has one in it; nothing for all others.
std::optional<Learned> learned_by(const torch::nn::Module& module);

}  // namespace mpelu::nn
