#include <mpelu/nn.h>
#include <mpelu/ops.h>

#include <cmath>

#include "module_checks.h"

using mpelu::nn::ELU;
using mpelu::nn::ELUOptions;

CATCH_TEST_CASE("ELU is a torch::nn module", "[nn]") {
  check_module_contract(ELU(0.5), "mpelu::nn::ELU(alpha=0.5)");
}

CATCH_TEST_CASE("ELU computes elu with its alpha", "[nn]") {
  const auto input = torch::randn({2, 3});
  CATCH_CHECK(ELU()->options.alpha() == 1.0);
  CATCH_CHECK(at::equal(ELU()->forward(input), mpelu::elu(input, 1.0)));
  CATCH_CHECK(at::equal(ELU(ELUOptions().alpha(0.25))->forward(input), mpelu::elu(input, 0.25)));
  CATCH_CHECK(ELU()->parameters().empty());
}

CATCH_TEST_CASE("ELU in place overwrites its input", "[nn]") {
  const auto input = torch::randn({2, 3});
  const auto expected = mpelu::elu(input, 0.5);
  const auto output = ELU(ELUOptions(0.5).inplace(true))->forward(input);
  CATCH_CHECK(output.is_same(input));
  CATCH_CHECK(at::equal(input, expected));
}

CATCH_TEST_CASE("ELU refuses options that it cannot work with", "[nn]") {
  struct Case {
    ELUOptions options;
    std::string message;
  };
  for (const auto& [options, message] : {
           Case{ELUOptions(NAN), "alpha must be finite, got nan"},
           Case{ELUOptions(-INFINITY), "alpha must be finite, got -inf"},
           Case{ELUOptions(-0.5).inplace(true),
                "alpha must be >= 0 where inplace is true, got -0.5"},
       }) {
    const ELUOptions given = options;
    CATCH_CHECK_THAT(error_of([&] { ELU{given}; }), Catch::Matchers::ContainsSubstring(message));
  }
}
