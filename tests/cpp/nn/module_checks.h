#pragma once

#include <torch/torch.h>

#include <sstream>
#include <string>

#include "../catch.h"

/// What every activation module promises, whatever it computes; atol is how far its values may lie
/// from those of float64.
template <typename Holder>
void check_module_contract(Holder module, const std::string& printed,
                           const at::Tensor& input = torch::randn({2, 3, 4}), double atol = 1e-8) {
  const auto expected = module->forward(input);

  CATCH_SECTION("it pretty prints") {
    std::ostringstream stream;
    stream << module;
    CATCH_CHECK(stream.str() == printed);
  }
  CATCH_SECTION("it works in a Sequential") {
    torch::nn::Sequential model(torch::nn::Identity(), module);
    CATCH_CHECK(at::equal(model->forward(input), expected));
  }
  CATCH_SECTION("a clone computes the same with parameters of its own") {
    const auto copy = std::dynamic_pointer_cast<typename Holder::Impl>(module->clone());
    CATCH_REQUIRE(copy != nullptr);
    {
      const torch::NoGradGuard no_grad;
      for (auto& parameter : module->parameters()) {
        parameter.add_(1);
      }
    }
    CATCH_CHECK(at::equal(copy->forward(input), expected));
  }
  CATCH_SECTION("torch::save and torch::load keep its parameters") {
    std::stringstream stream;
    torch::save(module, stream);
    Holder loaded(module->options);
    for (auto& parameter : loaded->parameters()) {
      torch::nn::init::zeros_(parameter);
    }
    torch::load(loaded, stream);
    CATCH_CHECK(at::equal(loaded->forward(input), expected));
  }
  CATCH_SECTION("it moves to another dtype") {
    module->to(at::kDouble);
    CATCH_CHECK(at::allclose(module->forward(input.to(at::kDouble)), expected.to(at::kDouble),
                             /*rtol=*/1e-5, atol));
  }
}
