#include <mpelu/nn.h>
#include <mpelu/ops.h>

#include <cmath>

#include "module_checks.h"

using mpelu::nn::MPELU;
using mpelu::nn::MPELUOptions;

CATCH_TEST_CASE("MPELU is a torch::nn module", "[nn]") {
  check_module_contract(MPELU(MPELUOptions(3).alpha(0.25).beta(2)),
                        "mpelu::nn::MPELU(num_parameters=3, alpha=0.25, beta=2, dim=1)");
}

CATCH_TEST_CASE("MPELU learns alpha and beta", "[nn]") {
  MPELU module(MPELUOptions(4).alpha(0.25).beta(2).dim(-1));
  const auto parameters = module->named_parameters();
  CATCH_CHECK(parameters.keys() == std::vector<std::string>{"alpha", "beta"});
  CATCH_CHECK(at::equal(module->alpha, torch::full({4}, 0.25)));
  CATCH_CHECK(at::equal(module->beta, torch::full({4}, 2.0)));

  const auto input = torch::randn({2, 3, 4});
  const auto output = module->forward(input);
  CATCH_CHECK(at::equal(output, mpelu::mpelu(input, module->alpha, module->beta, -1)));
  output.sum().backward();
  for (const auto& parameter : module->parameters()) {
    CATCH_CHECK(parameter.grad().sizes() == parameter.sizes());
  }

  torch::nn::init::zeros_(module->alpha);
  torch::nn::init::zeros_(module->beta);
  module->reset_parameters();
  CATCH_CHECK(at::equal(module->alpha, torch::full({4}, 0.25)));
  CATCH_CHECK(at::equal(module->beta, torch::full({4}, 2.0)));
}

CATCH_TEST_CASE("MPELU starts as a shared ELU", "[nn]") {
  const auto input = torch::randn({2, 3});
  CATCH_CHECK(at::equal(MPELU()->forward(input), mpelu::elu(input)));
}

CATCH_TEST_CASE("MPELU refuses options that it cannot work with", "[nn]") {
  struct Case {
    MPELUOptions options;
    std::string message;
  };
  for (const auto& [options, message] : {
           Case{MPELUOptions(-1), "num_parameters must be >= 1, got -1"},
           Case{MPELUOptions().alpha(NAN), "alpha must be finite, got nan"},
           Case{MPELUOptions().beta(-INFINITY), "beta must be finite, got -inf"},
       }) {
    const MPELUOptions given = options;
    CATCH_CHECK_THAT(error_of([&] { MPELU{given}; }), Catch::Matchers::ContainsSubstring(message));
  }
}
