#include <cmath>
#include <string>
#include <vector>

#include <c10/util/StringUtil.h>
#include <mpelu/init.h>
#include <mpelu/nn.h>
#include <torch/nn/init.h>
#include <torch/nn/modules.h>

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

/// A convolution in groups is as many of its own, each with fewer inputs and outputs.
std::vector<at::Tensor> weights_of_groups(const Module& module, const at::Tensor& weight) {
  return weight.detach().chunk(
      groups_of<torch::nn::Conv1d, torch::nn::Conv2d, torch::nn::Conv3d, torch::nn::ConvTranspose1d,
                torch::nn::ConvTranspose2d, torch::nn::ConvTranspose3d>(module));
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

/// A layer whose weight is to be filled, with the alpha and beta to do it for.
struct Target {
  Module* layer;
  double alpha;
  double beta;
};

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
  const double fallback_alpha = alpha.value_or(1.0);
  const double fallback_beta = beta.value_or(1.0);
  check_finite("alpha", fallback_alpha);
  check_finite("beta", fallback_beta);
  std::vector<Layer> layers;
  flatten(module, "", layers);

  std::vector<Target> targets;
  std::vector<std::string> uncertain;
  for (size_t i = 0; i < layers.size(); ++i) {
    if (layers[i].module == nullptr || !has_weight_to_fill(*layers[i].module)) {
      continue;
    }
    if (const auto slope = following_slope(layers, i)) {
      check_finite("the slope of the activation after '" + layers[i].name + "'", *slope);
      targets.push_back({layers[i].module, *slope, 1.0});
    } else if (has_fallback) {
      targets.push_back({layers[i].module, fallback_alpha, fallback_beta});
    } else {
      uncertain.push_back("'" + layers[i].name + "' (" + layers[i].module->name() + ")");
    }
  }
  TORCH_CHECK_VALUE(uncertain.empty(), "cannot tell which activation follows ",
                    c10::Join(", ", uncertain), "; give alpha and beta for layers like these");

  const auto fill = distribution == Distribution::Normal ? taylor_normal_ : taylor_uniform_;
  for (const auto& target : targets) {
    const auto parameters = target.layer->named_parameters(/*recurse=*/false);
    const FanMode fan = is_transposed(*target.layer) ? swapped(mode) : mode;
    for (const auto& weight : weights_of_groups(*target.layer, parameters["weight"])) {
      fill(weight, target.alpha, target.beta, fan, generator);
    }
    if (const auto* bias = parameters.find("bias")) {
      torch::nn::init::zeros_(*bias);
    }
  }
}

}  // namespace mpelu::init
