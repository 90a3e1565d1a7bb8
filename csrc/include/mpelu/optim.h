#pragma once

#include <memory>
#include <utility>
#include <vector>

#include <mpelu/export.h>
#include <torch/nn/module.h>
#include <torch/optim/optimizer.h>

/// Parameter groups: the activations' parameters learn at their own rate.
namespace mpelu::optim {

namespace detail {

/// A model's parameters, each once, in the order of module.parameters().
struct SplitParameters {
  std::vector<at::Tensor> others;
  std::vector<at::Tensor> activations;
};

MPELU_API SplitParameters split_parameters(const torch::nn::Module& module);

/// Throws c10::ValueError unless value is finite and at least 0.
MPELU_API void check_multiplier(const char* name, double value);

}  // namespace detail

/// Splits a model's parameters in two groups: alpha and beta of its SPELU, MPELU and BatchNormMPELU
/// modules, and the rest. Every parameter is in exactly one group, once, also when modules share
/// it. The defaults are those of the residual networks in Li et al. 2016 (arXiv:1606.00305).
///
/// \param module the model to train.
/// \param options of any optimiser with a learning rate and a weight decay, which the other
///   parameters have.
/// \param activation_lr_mult alpha and beta learn at options.lr() times this.
/// \param activation_decay_mult alpha and beta decay with options.weight_decay() times this.
/// \returns the other parameters' group and then the activations'. A group without parameters is
///   empty, not absent.
///
/// Example:
/// ```
/// auto options = torch::optim::SGDOptions(0.1).momentum(0.9).weight_decay(1e-4);
/// torch::optim::SGD optimizer(mpelu::optim::param_groups(*model, options), options);
/// ```
template <typename OptimizerOptions>
std::vector<torch::optim::OptimizerParamGroup> param_groups(const torch::nn::Module& module,
                                                            const OptimizerOptions& options,
                                                            double activation_lr_mult = 5.0,
                                                            double activation_decay_mult = 10.0) {
  detail::check_multiplier("activation_lr_mult", activation_lr_mult);
  detail::check_multiplier("activation_decay_mult", activation_decay_mult);
  auto activation_options = std::make_unique<OptimizerOptions>(options);
  activation_options->lr(options.lr() * activation_lr_mult);
  activation_options->weight_decay(options.weight_decay() * activation_decay_mult);

  auto [others, activations] = detail::split_parameters(module);
  std::vector<torch::optim::OptimizerParamGroup> groups;
  groups.emplace_back(std::move(others), std::make_unique<OptimizerOptions>(options));
  groups.emplace_back(std::move(activations), std::move(activation_options));
  return groups;
}

}  // namespace mpelu::optim
