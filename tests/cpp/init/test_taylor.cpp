#include <mpelu/init.h>
#include <torch/torch.h>

#include <cmath>

#include "../catch.h"

using mpelu::init::FanMode;

namespace {

at::Generator generator(uint64_t seed) { return at::detail::createCPUGenerator(seed); }

}  // namespace

CATCH_TEST_CASE("a fan is counted as in torch.nn.init", "[init]") {
  struct Case {
    std::vector<int64_t> shape;
    double fan_in, fan_out, fan_avg;
  };
  for (const auto& [shape, fan_in, fan_out, fan_avg] : {
           Case{{10, 64}, 64, 10, 37},
           Case{{16, 3, 5}, 15, 80, 47.5},
           Case{{16, 3, 3, 3}, 27, 144, 85.5},
           Case{{8, 4, 3, 2, 1}, 24, 48, 36},
       }) {
    CATCH_CAPTURE(shape);
    CATCH_CHECK(mpelu::init::calculate_fan(shape, FanMode::FanIn) == fan_in);
    CATCH_CHECK(mpelu::init::calculate_fan(shape, FanMode::FanOut) == fan_out);
    CATCH_CHECK(mpelu::init::calculate_fan(shape, FanMode::FanAvg) == fan_avg);
  }
}

CATCH_TEST_CASE("a fan mode is known by its name", "[init]") {
  CATCH_CHECK(mpelu::init::parse_fan_mode("fan_in") == FanMode::FanIn);
  CATCH_CHECK(mpelu::init::parse_fan_mode("fan_out") == FanMode::FanOut);
  CATCH_CHECK(mpelu::init::parse_fan_mode("fan_avg") == FanMode::FanAvg);
  CATCH_CHECK(error_of([] { mpelu::init::parse_fan_mode("fan"); }) ==
              "mode must be fan_in, fan_out or fan_avg, got 'fan'");
}

CATCH_TEST_CASE("taylor_std is the formula's", "[init]") {
  CATCH_CHECK(mpelu::init::taylor_std(8, 0, 1) == 0.5);  // He et al. 2015: sqrt(2 / n)
  CATCH_CHECK(mpelu::init::taylor_std(4, 1, 1) == 0.5);
  CATCH_CHECK(mpelu::init::taylor_std(2, 0.5, -2) == std::sqrt(0.5));
  CATCH_CHECK(mpelu::init::taylor_std(1.6, 0.25, 2) == 1.0);
}

CATCH_TEST_CASE("the fillers have the mean and the deviation of the formula", "[init]") {
  for (const auto dtype : {at::kDouble, at::kFloat, at::kBFloat16, at::kHalf}) {
    CATCH_CAPTURE(dtype);
    // 102400 values: a sampled deviation is off by 0.2% (one sigma), a mean by 0.3% of the
    // deviation.
    const auto weight = torch::empty({128, 32, 5, 5}, dtype).requires_grad_();
    const double std = mpelu::init::taylor_std(128 * 25, 0.25, 2);

    const auto normal = mpelu::init::taylor_normal_(weight, 0.25, 2, FanMode::FanOut, generator(1));
    CATCH_CHECK(normal.is_same(weight));
    auto values = normal.detach().to(at::kDouble);
    CATCH_CHECK(std::abs(values.mean().item<double>()) < 0.015 * std);
    CATCH_CHECK(std::abs(values.std().item<double>() - std) < 0.01 * std);
    // A normal distribution has 4.55% outside of two deviations, the uniform one none.
    const double outside = (values.abs() > 2 * std).to(at::kDouble).mean().item<double>();
    CATCH_CHECK(std::abs(outside - 0.0455) < 0.005);

    values = mpelu::init::taylor_uniform_(weight, 0.25, 2, FanMode::FanOut, generator(1))
                 .detach()
                 .to(at::kDouble);
    CATCH_CHECK(std::abs(values.mean().item<double>()) < 0.015 * std);
    CATCH_CHECK(std::abs(values.std().item<double>() - std) < 0.01 * std);
    CATCH_CHECK(values.abs().max().item<double>() < 1.005 * std::sqrt(3.0) * std);
  }
}

CATCH_TEST_CASE("the fillers draw from the generator that they are given", "[init]") {
  for (const auto fill : {mpelu::init::taylor_normal_, mpelu::init::taylor_uniform_}) {
    const auto draw = [&](uint64_t seed) {
      return fill(torch::empty({8, 8}), 1.0, 1.0, FanMode::FanIn, generator(seed));
    };
    CATCH_CHECK(at::equal(draw(1), draw(1)));
    CATCH_CHECK(!at::equal(draw(1), draw(2)));
  }
}

CATCH_TEST_CASE("the fillers leave an empty weight as it is", "[init]") {
  CATCH_CHECK(mpelu::init::taylor_normal_(torch::empty({0, 3})).numel() == 0);
  CATCH_CHECK(mpelu::init::taylor_uniform_(torch::empty({3, 0})).numel() == 0);
}

CATCH_TEST_CASE("the fillers name the argument that they cannot use", "[init]") {
  const auto weight = torch::empty({3, 4});
  struct Case {
    std::string message;
    std::function<void()> call;
  };
  for (const auto& [message, call] : {
           Case{"at least 2 dimensions, got shape [3]",
                [&] { mpelu::init::taylor_normal_(torch::empty({3})); }},
           Case{"floating point, got Long",
                [&] { mpelu::init::taylor_normal_(torch::empty({3, 4}, at::kLong)); }},
           Case{"alpha must be finite", [&] { mpelu::init::taylor_uniform_(weight, NAN); }},
           Case{"beta must be finite", [&] { mpelu::init::taylor_uniform_(weight, 1, INFINITY); }},
           Case{"alpha * beta must be finite",
                [&] { mpelu::init::taylor_normal_(weight, 1e200, 1e200); }},
           Case{"alpha must be finite",
                [&] { mpelu::init::taylor_normal_(torch::empty({0, 3}), NAN); }},
           Case{"n must be > 0, got 0", [&] { mpelu::init::taylor_std(0, 1, 1); }},
       }) {
    CATCH_CHECK_THAT(error_of(call), Catch::Matchers::ContainsSubstring(message));
  }
}
