#pragma once

#include <torch/nn/module.h>

namespace mpelu::nn {

template <typename... Modules>
bool is_any_of(const torch::nn::Module& module) {
  return (... || (module.as<Modules>() != nullptr));
}

}  // namespace mpelu::nn
