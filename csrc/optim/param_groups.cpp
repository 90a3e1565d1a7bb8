#include <cmath>
#include <unordered_set>

#include <mpelu/optim.h>

#include "nn/learned.h"

namespace mpelu::optim::detail {

namespace {

using TensorSet = std::unordered_set<const at::TensorImpl*>;

void insert_activation_parameters(const torch::nn::Module& module, TensorSet& found) {
  if (const auto learned = nn::learned_parameters(module)) {
    for (const auto& parameter : {learned->alpha, learned->beta}) {
      if (parameter.defined()) {
        found.insert(parameter.unsafeGetTensorImpl());
      }
    }
  }
  for (const auto& child : module.children()) {
    insert_activation_parameters(*child, found);
  }
}

}  // namespace

SplitParameters split_parameters(const torch::nn::Module& module) {
  TensorSet learned;
  insert_activation_parameters(module, learned);

  SplitParameters split;
  TensorSet seen;
  for (const auto& parameter : module.parameters()) {
    if (seen.insert(parameter.unsafeGetTensorImpl()).second) {
      auto& group =
          learned.contains(parameter.unsafeGetTensorImpl()) ? split.activations : split.others;
      group.push_back(parameter);
    }
  }
  return split;
}

void check_multiplier(const char* name, double value) {
  TORCH_CHECK_VALUE(std::isfinite(value) && value >= 0, name, " must be finite and >= 0, got ",
                    value);
}

}  // namespace mpelu::optim::detail
