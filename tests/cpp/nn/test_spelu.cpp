#include <mpelu/nn.h>
#include <mpelu/ops.h>

#include <cmath>

#include "module_checks.h"

using mpelu::nn::SPELU;
using mpelu::nn::SPELUOptions;

CATCH_TEST_CASE("SPELU is a torch::nn module", "[nn]") {
  check_module_contract(SPELU(SPELUOptions(3).alpha(0.5)),
                        "mpelu::nn::SPELU(num_parameters=3, alpha=0.5, dim=1)");
}

CATCH_TEST_CASE("SPELU learns alpha", "[nn]") {
  SPELU module(SPELUOptions(4).alpha(0.5).dim(-1));
  const auto parameters = module->named_parameters();
  CATCH_CHECK(parameters.keys() == std::vector<std::string>{"alpha"});
  CATCH_CHECK(at::equal(module->alpha, torch::full({4}, 0.5)));

  const auto input = torch::randn({2, 3, 4});
  const auto output = module->forward(input);
  CATCH_CHECK(at::equal(output, mpelu::spelu(input, module->alpha, -1)));
  output.sum().backward();
  CATCH_CHECK(module->alpha.grad().sizes() == module->alpha.sizes());

  torch::nn::init::zeros_(module->alpha);
  module->reset_parameters();
  CATCH_CHECK(at::equal(module->alpha, torch::full({4}, 0.5)));
}

CATCH_TEST_CASE("SPELU starts as a shared ELU", "[nn]") {
  const auto input = torch::randn({2, 3});
  CATCH_CHECK(at::equal(SPELU()->forward(input), mpelu::elu(input)));
}

CATCH_TEST_CASE("SPELU refuses options that it cannot work with", "[nn]") {
  struct Case {
    SPELUOptions options;
    std::string message;
  };
  for (const auto& [options, message] : {
           Case{SPELUOptions(0), "num_parameters must be >= 1, got 0"},
           Case{SPELUOptions().alpha(NAN), "alpha must be finite, got nan"},
           Case{SPELUOptions().alpha(INFINITY), "alpha must be finite, got inf"},
       }) {
    const SPELUOptions given = options;
    CATCH_CHECK_THAT(error_of([&] { SPELU{given}; }), Catch::Matchers::ContainsSubstring(message));
  }
}
