#include <mpelu/nn.h>

#include "nn/learned.h"

#include "nn/is_any_of.h"

namespace mpelu::nn {

std::optional<LearnedParameters> learned_parameters(const torch::nn::Module& module) {
  if (!is_any_of<SPELU, MPELU, BatchNormMPELU1d, BatchNormMPELU2d, BatchNormMPELU3d>(module)) {
    return std::nullopt;
  }
  const auto parameters = module.named_parameters(/*recurse=*/false);
  const auto* beta = parameters.find("beta");
  return LearnedParameters{parameters["alpha"], beta != nullptr ? *beta : at::Tensor()};
}

}  // namespace mpelu::nn
