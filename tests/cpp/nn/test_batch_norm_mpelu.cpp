#include <mpelu/nn.h>

#include <cmath>
#include <functional>

#include "../reference.h"
#include "module_checks.h"

using mpelu::nn::BatchNormMPELUOptions;
using torch::nn::Sequential;

namespace {

struct Rank1 {
  static constexpr int64_t kRank = 1;
  using Fused = mpelu::nn::BatchNormMPELU1d;
  using BatchNorm = torch::nn::BatchNorm1d;
  static at::Tensor input() { return 2 * torch::randn({6, 3, 5}) + 1; }
};

struct Rank2 {
  static constexpr int64_t kRank = 2;
  using Fused = mpelu::nn::BatchNormMPELU2d;
  using BatchNorm = torch::nn::BatchNorm2d;
  static at::Tensor input() { return 2 * torch::randn({6, 3, 5, 4}) + 1; }
};

struct Rank3 {
  static constexpr int64_t kRank = 3;
  using Fused = mpelu::nn::BatchNormMPELU3d;
  using BatchNorm = torch::nn::BatchNorm3d;
  static at::Tensor input() { return 2 * torch::randn({6, 3, 2, 3, 4}) + 1; }
};

/// Three channels with every combination of the options that change what a module does.
std::vector<BatchNormMPELUOptions> every_kind() {
  std::vector<BatchNormMPELUOptions> kinds;
  for (const auto momentum : {std::optional(0.3), std::optional<double>()}) {
    for (const auto beta : {std::optional(1.5), std::optional<double>()}) {
      for (const auto num_parameters : {std::optional<int64_t>(1), std::optional<int64_t>()}) {
        for (const bool affine : {true, false}) {
          for (const bool tracked : {true, false}) {
            kinds.push_back(BatchNormMPELUOptions(3)
                                .alpha(0.25)
                                .beta(beta)
                                .eps(1e-3)
                                .momentum(momentum)
                                .affine(affine)
                                .track_running_stats(tracked)
                                .num_parameters(num_parameters));
          }
        }
      }
    }
  }
  return kinds;
}

/// torch's batch norm and the activation, which together do what a fused module with these options
/// does.
template <typename BatchNorm>
Sequential pair_of(const BatchNormMPELUOptions& options) {
  Sequential pair(BatchNorm(torch::nn::BatchNormOptions(options.num_features())
                                .eps(options.eps())
                                .momentum(options.momentum())
                                .affine(options.affine())
                                .track_running_stats(options.track_running_stats())));
  const int64_t count = options.num_parameters().value_or(options.num_features());
  if (options.beta()) {
    pair->push_back(mpelu::nn::MPELU(
        mpelu::nn::MPELUOptions(count).alpha(options.alpha()).beta(*options.beta())));
  } else {
    pair->push_back(mpelu::nn::SPELU(mpelu::nn::SPELUOptions(count).alpha(options.alpha())));
  }
  return pair;
}

using State = std::vector<std::pair<std::string, at::Tensor>>;

State state_of(const torch::nn::Module& module) {
  State state = module.named_parameters().pairs();
  const auto buffers = module.named_buffers().pairs();
  state.insert(state.end(), buffers.begin(), buffers.end());
  return state;
}

/// A pair's tensors under the names that the fused module has for them: "0.bias" is "bias".
State state_of_pair(const Sequential& pair) {
  State state = state_of(*pair);
  for (auto& [name, tensor] : state) {
    name = name.substr(2);
  }
  return state;
}

/// Checks that both have the same tensors under the same names, up to a tolerance, with the same
/// gradients.
void check_same(const State& actual, const State& expected, double tolerance = 0) {
  CATCH_REQUIRE(actual.size() == expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    const auto& [name, tensor] = actual[i];
    const auto& truth = expected[i].second;
    CATCH_CAPTURE(name);
    CATCH_CHECK(name == expected[i].first);
    CATCH_CHECK(tensor.scalar_type() == truth.scalar_type());
    CATCH_CHECK(tensor.requires_grad() == truth.requires_grad());
    check_close(tensor, truth.to(at::kDouble), tolerance);
    CATCH_REQUIRE(tensor.grad().defined() == truth.grad().defined());
    if (truth.grad().defined()) {
      check_close(tensor.grad(), truth.grad(), tolerance);
    }
  }
}

/// Gives every parameter a value of its own, of any sign.
void scramble(torch::nn::Module& module) {
  const torch::NoGradGuard no_grad;
  for (auto& parameter : module.parameters()) {
    parameter.normal_();
  }
}

void copy_state(const State& from, const State& to) {
  const torch::NoGradGuard no_grad;
  for (size_t i = 0; i < from.size(); ++i) {
    to[i].second.copy_(from[i].second);
  }
}

}  // namespace

// A normalised value near 0 keeps the rounding of the numbers that it is the difference of.
constexpr double kNormalisedError = 1e-6;

CATCH_TEMPLATE_TEST_CASE("BatchNormMPELU is a torch::nn module", "[nn]", Rank1, Rank2, Rank3) {
  const auto name = c10::str("mpelu::nn::BatchNormMPELU", TestType::kRank, "d");
  const auto input = TestType::input();
  CATCH_SECTION("by default") {
    check_module_contract(typename TestType::Fused(3),
                          name +
                              "(3, alpha=1, beta=1, eps=1e-05, momentum=0.1, affine=true, "
                              "track_running_stats=true)",
                          input, kNormalisedError);
  }
  CATCH_SECTION("with options") {
    const auto options = BatchNormMPELUOptions(3)
                             .alpha(0.25)
                             .beta(std::nullopt)
                             .eps(0.5)
                             .momentum(std::nullopt)
                             .affine(false)
                             .track_running_stats(false)
                             .num_parameters(1);
    check_module_contract(typename TestType::Fused(options),
                          name +
                              "(3, alpha=0.25, beta=None, eps=0.5, momentum=None, "
                              "affine=false, track_running_stats=false, num_parameters=1)",
                          input, kNormalisedError);
  }
}

CATCH_TEMPLATE_TEST_CASE("BatchNormMPELU trains and evaluates like torch's batch norm and MPELU",
                         "[nn]", Rank1, Rank2, Rank3) {
  for (const auto& options : every_kind()) {
    typename TestType::Fused fused(options);
    CATCH_CAPTURE(fused);
    auto pair = pair_of<typename TestType::BatchNorm>(options);
    check_same(state_of(*fused), state_of_pair(pair));

    fused->to(at::kDouble);
    pair->to(at::kDouble);
    scramble(*fused);
    copy_state(state_of(*fused), state_of(*pair));
    for (const bool training : {false, true, true, false, true}) {
      CATCH_CAPTURE(training);
      fused->train(training);
      pair->train(training);
      fused->zero_grad();
      pair->zero_grad();
      const auto actual_input = TestType::input().to(at::kDouble).requires_grad_();
      const auto input = actual_input.detach().clone().requires_grad_();
      const auto actual = fused->forward(actual_input);
      const auto expected = pair->forward(input);
      const auto grad_output = torch::randn_like(expected);
      actual.backward(grad_output);
      expected.backward(grad_output);
      check_close(actual, expected, 1e-12);
      check_close(actual_input.grad(), input.grad(), 1e-12);
      check_same(state_of(*fused), state_of_pair(pair), 1e-12);
    }
  }
}

CATCH_TEST_CASE("BatchNormMPELU1d takes an input without a length, as torch's does", "[nn]") {
  const auto input = torch::randn({6, 3}, at::kDouble);
  mpelu::nn::BatchNormMPELU1d fused(3);
  auto pair = pair_of<torch::nn::BatchNorm1d>(fused->options);
  fused->to(at::kDouble);
  pair->to(at::kDouble);
  check_close(fused->forward(input), pair->forward(input), 1e-12);
}

CATCH_TEMPLATE_TEST_CASE("a copy of a BatchNormMPELU goes on as the module itself", "[nn]", Rank1,
                         Rank2, Rank3) {
  using Fused = typename TestType::Fused;
  const std::function<Fused(const Fused&)> cloned = [](const Fused& module) {
    return Fused(std::dynamic_pointer_cast<typename Fused::Impl>(module->clone()));
  };
  const std::function<Fused(const Fused&)> loaded = [](const Fused& module) {
    std::stringstream stream;
    torch::save(module, stream);
    Fused copy(module->options);
    torch::load(copy, stream);
    return copy;
  };
  for (const auto& options : every_kind()) {
    Fused module(options);
    CATCH_CAPTURE(module);
    scramble(*module);
    module->forward(TestType::input());
    for (const auto& copied_by : {cloned, loaded}) {
      Fused copy = copied_by(module);
      const auto state = state_of(*module);
      const auto copied = state_of(*copy);
      check_same(copied, state);
      for (size_t i = 0; i < state.size(); ++i) {
        CATCH_CHECK_FALSE(copied[i].second.is_alias_of(state[i].second));
      }
      const auto input = TestType::input();
      CATCH_CHECK(at::equal(copy->forward(input), module->forward(input)));
      check_same(copied, state);
      copy->eval();
      module->eval();
      CATCH_CHECK(at::equal(copy->forward(input), module->forward(input)));
      module->train();
    }
  }
}

CATCH_TEMPLATE_TEST_CASE("reset_parameters starts a BatchNormMPELU again", "[nn]", Rank1, Rank2,
                         Rank3) {
  for (const auto& options : every_kind()) {
    typename TestType::Fused module(options);
    CATCH_CAPTURE(module);
    scramble(*module);
    module->forward(TestType::input());
    module->reset_parameters();
    check_same(state_of(*module), state_of(*typename TestType::Fused(options)));
  }
}

CATCH_TEMPLATE_TEST_CASE("BatchNormMPELU refuses the ranks that torch's batch norm does", "[nn]",
                         Rank1, Rank2, Rank3) {
  typename TestType::Fused fused(3);
  typename TestType::BatchNorm batch_norm(3);
  int64_t accepted = 0;
  for (size_t rank = 0; rank <= 6; ++rank) {
    const auto input = torch::zeros(std::vector<int64_t>(rank, 3));
    const auto error = error_of([&] { fused->forward(input); });
    CATCH_CHECK(error == error_of([&] { batch_norm->forward(input); }));
    accepted += error.empty();
  }
  CATCH_CHECK(accepted == (TestType::kRank == 1 ? 2 : 1));
}

CATCH_TEST_CASE("BatchNormMPELU needs more than one value a channel for the batch's statistics",
                "[nn]") {
  const auto input = torch::zeros({1, 3, 1, 1});
  const auto error_with = [&](bool tracked, bool training) {
    mpelu::nn::BatchNormMPELU2d module(BatchNormMPELUOptions(3).track_running_stats(tracked));
    module->train(training);
    return error_of([&] { module->forward(input); });
  };
  const auto message = Catch::Matchers::ContainsSubstring("more than 1 value for each channel");
  CATCH_CHECK_THAT(error_with(true, true), message);
  CATCH_CHECK_THAT(error_with(false, true), message);
  CATCH_CHECK_THAT(error_with(false, false), message);
  CATCH_CHECK(error_with(true, false).empty());
}

CATCH_TEMPLATE_TEST_CASE("BatchNormMPELU refuses options that it cannot work with", "[nn]", Rank1,
                         Rank2, Rank3) {
  struct Case {
    BatchNormMPELUOptions options;
    std::string message;
  };
  const auto name = c10::str("BatchNormMPELU", TestType::kRank, "d: ");
  for (const auto& [options, message] : {
           Case{BatchNormMPELUOptions(0), "num_features must be >= 1, got 0"},
           Case{BatchNormMPELUOptions(-2), "num_features must be >= 1, got -2"},
           Case{BatchNormMPELUOptions(3).num_parameters(2),
                "num_parameters must be 1 or num_features (3), got 2"},
           Case{BatchNormMPELUOptions(3).num_parameters(0),
                "num_parameters must be 1 or num_features (3), got 0"},
           Case{BatchNormMPELUOptions(3).alpha(NAN), "alpha must be finite, got nan"},
           Case{BatchNormMPELUOptions(3).beta(-INFINITY), "beta must be finite, got -inf"},
       }) {
    const BatchNormMPELUOptions given = options;
    CATCH_CHECK(error_of([&] { typename TestType::Fused{given}; }) == name + message);
  }
}
