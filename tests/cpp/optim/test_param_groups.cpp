#include <mpelu/nn.h>
#include <mpelu/optim.h>
#include <torch/torch.h>

#include <cmath>

#include "../catch.h"
#include "../stack.h"

using mpelu::optim::param_groups;

namespace {

torch::nn::Sequential model() {
  Stack inner(torch::nn::Linear(4, 4), mpelu::nn::SPELU(4));
  return torch::nn::Sequential(
      torch::nn::Conv2d(3, 4, 3), torch::nn::BatchNorm2d(4), mpelu::nn::MPELU(4), mpelu::nn::ELU(),
      torch::nn::PReLU(), inner, mpelu::nn::BatchNormMPELU1d(4), mpelu::nn::BatchNormMPELU2d(4),
      mpelu::nn::BatchNormMPELU3d(4),
      mpelu::nn::BatchNormMPELU2d(mpelu::nn::BatchNormMPELUOptions(4).beta(std::nullopt)));
}

}  // namespace

CATCH_TEMPLATE_TEST_CASE("param_groups scales the options of alpha and beta alone", "[optim]",
                         torch::optim::SGDOptions, torch::optim::AdamOptions,
                         torch::optim::AdamWOptions, torch::optim::RMSpropOptions,
                         torch::optim::AdagradOptions) {
  TestType options(0.1);
  options.weight_decay(0.01);
  const auto check = [](const torch::optim::OptimizerParamGroup& group, double lr, double decay) {
    const auto& scaled = static_cast<const TestType&>(group.options());
    CATCH_CHECK(scaled.lr() == lr);
    CATCH_CHECK(scaled.weight_decay() == decay);
  };
  auto groups = param_groups(*model(), options);
  CATCH_REQUIRE(groups.size() == 2);
  check(groups[0], 0.1, 0.01);
  check(groups[1], 0.1 * 5.0, 0.01 * 10.0);

  groups = param_groups(*model(), options, 2.0, 0.0);
  check(groups[0], 0.1, 0.01);
  check(groups[1], 0.1 * 2.0, 0.0);
}

CATCH_TEST_CASE("param_groups keeps the other options in both groups", "[optim]") {
  const auto options = torch::optim::SGDOptions(0.1).momentum(0.9).nesterov(true);
  for (const auto& group : param_groups(*model(), options)) {
    const auto& kept = static_cast<const torch::optim::SGDOptions&>(group.options());
    CATCH_CHECK(kept.momentum() == 0.9);
    CATCH_CHECK(kept.nesterov());
  }
}

CATCH_TEST_CASE("param_groups puts every parameter in exactly one group", "[optim]") {
  auto net = model();
  mpelu::nn::MPELU shared(2);
  net->push_back(shared);
  net->push_back(shared);
  const auto groups = param_groups(*net, torch::optim::SGDOptions(0.1));
  for (const auto& entry : net->named_parameters()) {
    CATCH_CAPTURE(entry.key());
    const bool learned = entry.key().ends_with("alpha") || entry.key().ends_with("beta");
    const auto count = [&](const torch::optim::OptimizerParamGroup& group) {
      return std::count_if(group.params().begin(), group.params().end(),
                           [&](const at::Tensor& p) { return p.is_same(entry.value()); });
    };
    CATCH_CHECK(count(groups[0]) == (learned ? 0 : 1));
    CATCH_CHECK(count(groups[1]) == (learned ? 1 : 0));
  }
}

CATCH_TEST_CASE("param_groups finds a model that is an activation, and one without", "[optim]") {
  const torch::optim::SGDOptions options(0.1);
  const auto activation = param_groups(*mpelu::nn::MPELU(2), options);
  CATCH_CHECK(activation[0].params().empty());
  CATCH_CHECK(activation[1].params().size() == 2);
  const auto linear = param_groups(*torch::nn::Linear(2, 2), options);
  CATCH_CHECK(linear[0].params().size() == 2);
  CATCH_CHECK(linear[1].params().empty());
}

CATCH_TEST_CASE("an optimizer over param_groups steps at each group's rate", "[optim]") {
  torch::nn::Sequential net(torch::nn::Linear(2, 2), mpelu::nn::MPELU(2));
  const torch::optim::SGDOptions options(0.1);
  torch::optim::SGD optimizer(param_groups(*net, options), options);
  std::vector<at::Tensor> before;
  for (auto& parameter : net->parameters()) {
    before.push_back(parameter.detach().clone());
    parameter.mutable_grad() = torch::ones_like(parameter);
  }
  optimizer.step();
  const auto after = net->named_parameters();
  for (size_t i = 0; i < before.size(); ++i) {
    const double lr = after[i].key().starts_with("1.") ? 0.5 : 0.1;
    CATCH_CHECK(at::allclose(after[i].value(), before[i] - lr));
  }
}

CATCH_TEST_CASE("param_groups refuses multipliers that are negative or not finite", "[optim]") {
  const torch::optim::SGDOptions options(0.1);
  CATCH_CHECK(error_of([&] { param_groups(*model(), options, -1.0); }) ==
              "activation_lr_mult must be finite and >= 0, got -1");
  CATCH_CHECK(error_of([&] { param_groups(*model(), options, 1.0, NAN); }) ==
              "activation_decay_mult must be finite and >= 0, got nan");
}
