#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include <c10/util/StringUtil.h>
#include <mpelu/nn.h>
#include <torch/nn/init.h>
#include <torch/nn/modules.h>

#include "init/fill_weight.h"
#include "nn/is_any_of.h"
#include "nn/learned.h"
#include "validate.h"

namespace mpelu::init {

namespace {

using nn::is_any_of;
using torch::nn::Module;

bool is_transposed(const Module& module) {
  return is_any_of<torch::nn::ConvTranspose1d, torch::nn::ConvTranspose2d,
                   torch::nn::ConvTranspose3d>(module);
}

template <typename... Convolutions>
int64_t groups_of(const Module& module) {
  int64_t groups = 1;
  const auto look_at = [&](const auto* convolution) {
    groups = convolution != nullptr ? convolution->options.groups() : groups;
  };
  (look_at(module.as<Convolutions>()), ...);
  return groups;
}

int64_t groups_of(const Module& module) {
  return groups_of<torch::nn::Conv1d, torch::nn::Conv2d, torch::nn::Conv3d,
                   torch::nn::ConvTranspose1d, torch::nn::ConvTranspose2d,
                   torch::nn::ConvTranspose3d>(module);
}

bool has_weight_to_fill(const Module& module) {
  return is_transposed(module) ||
         is_any_of<torch::nn::Conv1d, torch::nn::Conv2d, torch::nn::Conv3d, torch::nn::Linear>(
             module);
}

/// Layers between a weight and its activation that leave the question of its scale as it is.
bool is_transparent(const Module& module) {
  return is_any_of<torch::nn::BatchNorm1d, torch::nn::BatchNorm2d, torch::nn::BatchNorm3d,
                   torch::nn::Dropout, torch::nn::Dropout2d, torch::nn::Dropout3d,
                   torch::nn::AlphaDropout, torch::nn::FeatureAlphaDropout, torch::nn::MaxPool1d,
                   torch::nn::MaxPool2d, torch::nn::MaxPool3d, torch::nn::AvgPool1d,
                   torch::nn::AvgPool2d, torch::nn::AvgPool3d, torch::nn::AdaptiveMaxPool1d,
                   torch::nn::AdaptiveMaxPool2d, torch::nn::AdaptiveMaxPool3d,
                   torch::nn::AdaptiveAvgPool1d, torch::nn::AdaptiveAvgPool2d,
                   torch::nn::AdaptiveAvgPool3d, torch::nn::Identity, torch::nn::Flatten>(module);
}

double root_mean_square(const at::Tensor& tensor) {
  return std::sqrt(tensor.detach().to(at::kDouble).square().mean().item<double>());
}

/// The slope alpha * beta of an activation at 0 from below, as the root of its mean square over the
/// channels; nothing for a module that is not one of the known activations.
std::optional<double> slope_at_zero(const Module& module) {
  if (const auto learned = nn::learned_parameters(module)) {
    const auto& [alpha, beta] = *learned;
    return root_mean_square(beta.defined() ? alpha * beta : alpha);
  }
  if (const auto* elu = module.as<nn::ELU>()) {
    return elu->options.alpha();
  }
  if (const auto* elu = module.as<torch::nn::ELU>()) {
    return elu->options.alpha();
  }
  if (const auto* prelu = module.as<torch::nn::PReLU>()) {
    return root_mean_square(prelu->weight);
  }
  if (const auto* leaky_relu = module.as<torch::nn::LeakyReLU>()) {
    return leaky_relu->options.negative_slope();
  }
  if (module.as<torch::nn::ReLU>() != nullptr) {
    return 0.0;
  }
  return std::nullopt;
}

struct Layer {
  std::string name;
  Module* module;
};

/// Lists the leaves of a model in order. Where the order of execution is not known, that is around
/// the children of anything but a Sequential, there is a layer without a module.
void flatten(Module& module, const std::string& name, std::vector<Layer>& layers) {
  const auto children = module.named_children();
  const bool ordered = module.as<torch::nn::Sequential>() != nullptr;
  if (children.is_empty() && !ordered) {
    layers.push_back({name, &module});
    return;
  }
  const auto separate = [&] {
    if (!ordered) {
      layers.push_back({name, nullptr});
    }
  };
  separate();
  for (const auto& child : children) {
    flatten(*child.value(), name.empty() ? child.key() : name + "." + child.key(), layers);
    separate();
  }
}

/// The slope of the activation that follows layers[index], if it can be told.
std::optional<double> following_slope(const std::vector<Layer>& layers, size_t index) {
  for (++index; index < layers.size() && layers[index].module != nullptr; ++index) {
    const Module& module = *layers[index].module;
    if (!is_transparent(module)) {
      return slope_at_zero(module);
    }
  }
  return std::nullopt;
}

/// A layer whose weight is to be filled, with the slope of the activation that follows it.
struct Target {
  Layer layer;
  std::optional<double> slope;
};

/// Each layer once: one that stands in several places has a slope if these have the same.
std::vector<Target> find_targets(const std::vector<Layer>& layers) {
  std::vector<Target> targets;
  for (size_t i = 0; i < layers.size(); ++i) {
    const auto& layer = layers[i];
    if (layer.module == nullptr || !has_weight_to_fill(*layer.module)) {
      continue;
    }
    const auto slope = following_slope(layers, i);
    const auto found = std::find_if(targets.begin(), targets.end(), [&](const Target& target) {
      return target.layer.module == layer.module;
    });
    if (found == targets.end()) {
      targets.push_back({layer, slope});
    } else if (found->slope != slope) {
      found->slope = std::nullopt;
    }
  }
  return targets;
}

FanMode swapped(FanMode mode) {
  switch (mode) {
    case FanMode::FanIn:
      return FanMode::FanOut;
    case FanMode::FanOut:
      return FanMode::FanIn;
    case FanMode::FanAvg:
      break;
  }
  return mode;
}

}  // namespace

void taylor_init_(Module& module, std::optional<double> alpha, std::optional<double> beta,
                  FanMode mode, Distribution distribution, std::optional<at::Generator> generator) {
  const bool has_fallback = alpha || beta;
  const double fallback = finite_slope(alpha.value_or(1.0), beta.value_or(1.0));
  std::vector<Layer> layers;
  flatten(module, "", layers);
  const auto targets = find_targets(layers);

  std::vector<std::string> uncertain;
  for (const auto& [layer, slope] : targets) {
    if (slope) {
      check_finite("the slope of the activation after '" + layer.name + "'", *slope);
    } else if (!has_fallback) {
      uncertain.push_back("'" + layer.name + "' (" + layer.module->name() + ")");
    }
  }
  TORCH_CHECK_VALUE(uncertain.empty(), "cannot tell which activation follows ",
                    c10::Join(", ", uncertain), "; give alpha and beta for layers like these");

  for (const auto& [layer, slope] : targets) {
    const auto parameters = layer.module->named_parameters(/*recurse=*/false);
    const FanMode fan = is_transposed(*layer.module) ? swapped(mode) : mode;
    fill_weight(parameters["weight"], slope.value_or(fallback), fan, distribution, generator,
                groups_of(*layer.module));
    if (const auto* bias = parameters.find("bias")) {
      torch::nn::init::zeros_(*bias);
    }
  }
}

}  // namespace mpelu::init
