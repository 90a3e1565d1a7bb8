#include <mpelu/ops.h>
#include <torch/torch.h>

#include <limits>

#include "../reference.h"

namespace {

/// The parameter dtypes that go with an input dtype.
std::vector<at::ScalarType> parameter_dtypes(at::ScalarType input_dtype) {
  if (input_dtype == at::kHalf || input_dtype == at::kBFloat16) {
    return {input_dtype, at::kFloat};
  }
  return {input_dtype};
}

void check_against_reference(const at::Tensor& input, const at::Tensor& alpha,
                             const std::optional<at::Tensor>& beta, int64_t dim, double tolerance) {
  const auto one = torch::ones({}, at::kDouble);
  const auto output = mpelu::mpelu(input, alpha, beta, dim);
  CATCH_CHECK(output.scalar_type() == input.scalar_type());
  check_close(output, reference::forward(input, alpha, beta.value_or(one), dim), tolerance);

  const auto grad_output = torch::randn_like(output);
  std::vector<at::Tensor> inputs = {input, alpha};
  if (beta) {
    inputs.push_back(*beta);
  }
  const auto grads = torch::autograd::grad({output}, inputs, {grad_output});
  const auto expected = reference::backward(grad_output, input, alpha, beta.value_or(one), dim);
  check_close(grads[0], expected.input, tolerance);
  // A sum of many terms, each in its own precision: what counts is the size of the terms.
  const double sum_tolerance = tolerance * std::sqrt(static_cast<double>(input.numel()) + 1) * 4;
  CATCH_CHECK(grads[1].scalar_type() == alpha.scalar_type());
  check_close(grads[1], expected.alpha, sum_tolerance);
  if (beta) {
    CATCH_CHECK(grads[2].scalar_type() == beta->scalar_type());
    check_close(grads[2], expected.beta, sum_tolerance);
  }
}

at::Tensor parameter(at::IntArrayRef shape, at::ScalarType dtype) {
  return (0.5 + torch::rand(shape, at::kDouble)).to(dtype).requires_grad_();
}

}  // namespace

CATCH_TEST_CASE("mpelu and its gradients equal a float64 loop for every dtype, layout and dim",
                "[ops]") {
  const auto values = 2 * torch::randn({2, 3, 5, 7}, at::kDouble);
  for (const auto& [dtype, tolerance] : kPrecisions) {
    for (const auto parameter_dtype : parameter_dtypes(dtype)) {
      for (const auto& layout : kLayouts) {
        for (const int64_t dim : {0, 1, 2, -1}) {
          CATCH_CAPTURE(dtype, parameter_dtype, layout.name, dim);
          const auto input = layout.apply(values.to(dtype)).requires_grad_();
          const int64_t channels = input.size(dim);
          const auto alpha = parameter({channels}, parameter_dtype);
          const auto beta = parameter({channels}, parameter_dtype);
          check_against_reference(input, alpha, beta, dim, tolerance);
          check_against_reference(input, alpha, std::nullopt, dim, tolerance);
        }
      }
    }
  }
}

CATCH_TEST_CASE("mpelu takes parameters for all channels or for each, in any mix", "[ops]") {
  const auto input = torch::randn({2, 3, 9}, at::kDouble).requires_grad_();
  const std::vector<std::vector<int64_t>> shapes = {{}, {1}, {3}};
  for (const auto& alpha_shape : shapes) {
    for (const auto& beta_shape : shapes) {
      CATCH_CAPTURE(alpha_shape, beta_shape);
      check_against_reference(input, parameter(alpha_shape, at::kDouble),
                              parameter(beta_shape, at::kDouble), 1, 1e-14);
    }
  }
}

CATCH_TEST_CASE("mpelu takes an undefined beta for none, as torch's own operators do", "[ops]") {
  const auto input = torch::randn({2, 3, 9}).requires_grad_();
  const auto alpha = parameter({3}, at::kFloat);
  const at::Tensor none;
  const auto output = mpelu::mpelu(input, alpha, none);
  CATCH_CHECK(torch::equal(output, mpelu::spelu(input, alpha)));
  output.sum().backward();
  CATCH_CHECK(alpha.grad().defined());

  at::NoGradGuard no_grad;
  auto changed = input.detach().clone();
  CATCH_CHECK(torch::equal(mpelu::mpelu_(changed, alpha, none), output));
  const auto [grad_input, grad_alpha, grad_beta] =
      mpelu::mpelu_backward(torch::ones_like(input), input, alpha, none);
  CATCH_CHECK(torch::equal(grad_input, input.grad()));
  CATCH_CHECK(torch::equal(grad_alpha, alpha.grad()));
  CATCH_CHECK(grad_beta.numel() == 0);
}

CATCH_TEST_CASE(
    "mpelu takes tensors of any rank and length, with the channels of a 1-d one in dim 0",
    "[ops]") {
  std::vector<std::vector<int64_t>> shapes = {{}, {0}, {1}, {3}, {0, 3}, {2, 0}, {2, 3, 0}};
  for (int64_t length = 1; length <= 67; ++length) {
    shapes.push_back({2, 3, length});
  }
  for (const auto& shape : shapes) {
    CATCH_CAPTURE(shape);
    const auto input = torch::randn(shape, at::kDouble).requires_grad_();
    const int64_t channels = shape.empty() ? 1 : shape[shape.size() == 1 ? 0 : 1];
    check_against_reference(input, parameter({channels}, at::kDouble),
                            parameter({channels}, at::kDouble), 1, 1e-14);
  }
}

CATCH_TEST_CASE("mpelu keeps NaN, infinities and zeros as the formula has them", "[ops]") {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
  const auto input = torch::tensor({kNaN, kInfinity, -kInfinity, 0.0, -0.0, -1e3, 1e3});
  const auto alpha = torch::tensor(0.5);
  for (const auto& [dtype, tolerance] : kPrecisions) {
    for (const double beta : {2.0, -2.0}) {
      CATCH_CAPTURE(dtype, beta);
      const auto output =
          mpelu::mpelu(input.to(dtype), alpha.to(dtype), torch::tensor(beta, dtype));
      const double lower = beta > 0 ? -0.5 : kInfinity;
      const auto expected =
          torch::tensor({kNaN, kInfinity, lower, 0.0, -0.0, lower, 1e3}, at::kDouble);
      check_close(output, expected, tolerance);
      CATCH_CHECK(at::equal(at::signbit(output[4]), at::signbit(expected[4])));
    }
  }
}

CATCH_TEST_CASE("mpelu with alpha and beta 1 is elu, and spelu is mpelu with beta 1", "[ops]") {
  const auto input = torch::randn({4, 3, 33});
  const auto alpha = torch::rand({3});
  const auto one = torch::ones({3});
  CATCH_CHECK(at::equal(mpelu::mpelu(input, one, one), mpelu::elu(input)));
  CATCH_CHECK(at::equal(mpelu::spelu(input, alpha), mpelu::mpelu(input, alpha, one)));
}

CATCH_TEST_CASE("mpelu_ overwrites its input where no gradient is needed", "[ops]") {
  const auto input = torch::randn({2, 3, 4});
  const auto alpha = torch::rand({3});
  auto overwritten = input.clone();
  CATCH_CHECK(&mpelu::mpelu_(overwritten, alpha) == &overwritten);
  CATCH_CHECK(at::equal(overwritten, mpelu::spelu(input, alpha)));
}

CATCH_TEST_CASE("mpelu's gradients are equal to the bit for any number of threads", "[ops]") {
  const auto input = torch::randn({8, 16, 40, 40});
  const auto alpha = torch::rand({16});
  const auto beta = torch::rand({16});
  const auto grad_output = torch::randn_like(input);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const auto one = mpelu::mpelu_backward(grad_output, input, alpha, beta);
  at::set_num_threads(3);
  const auto three = mpelu::mpelu_backward(grad_output, input, alpha, beta);
  at::set_num_threads(threads);
  CATCH_CHECK(at::equal(std::get<0>(one), std::get<0>(three)));
  CATCH_CHECK(at::equal(std::get<1>(one), std::get<1>(three)));
  CATCH_CHECK(at::equal(std::get<2>(one), std::get<2>(three)));
}

CATCH_TEST_CASE("mpelu names the argument that it cannot use", "[ops]") {
  auto x = torch::randn({2, 3, 4});
  const auto a = torch::rand({3});
  auto expanded = torch::randn({2, 3, 1}).expand({2, 3, 4});
  auto needs_grad = a.clone().requires_grad_();
  struct Case {
    std::string message;
    std::function<void()> call;
  };
  for (const auto& [message, call] : {
           Case{"mpelu: expected input to be a tensor, got None",
                [&] { mpelu::mpelu(at::Tensor(), needs_grad); }},
           Case{"expected alpha to be a tensor, got None",
                [&] { mpelu::mpelu(x, at::Tensor(), needs_grad); }},
           Case{"expected alpha to have 1 element", [&] { mpelu::mpelu(x, torch::rand({2})); }},
           Case{"expected beta to have 1 element", [&] { mpelu::mpelu(x, a, torch::rand({4})); }},
           Case{"expected alpha to be 0-d or 1-d", [&] { mpelu::mpelu(x, torch::rand({1, 3})); }},
           Case{"expected dim in [-3, 2]", [&] { mpelu::mpelu(x, a, a, 3); }},
           Case{"expected dim in [-3, 2]", [&] { mpelu::mpelu(x, a, a, -4); }},
           Case{"input of dtype", [&] { mpelu::mpelu(x.to(at::kLong), a); }},
           Case{"alpha to have the dtype", [&] { mpelu::mpelu(x, a.to(at::kDouble)); }},
           Case{"beta to have the dtype", [&] { mpelu::mpelu(x, a, a.to(at::kHalf)); }},
           Case{"alpha on the device", [&] { mpelu::mpelu(x, a.to(at::kMeta)); }},
           Case{"share memory", [&] { mpelu::mpelu_(expanded, a); }},
           Case{"gradient", [&] { mpelu::mpelu_(x, needs_grad); }},
           Case{"grad_output", [&] { mpelu::mpelu_backward(x.slice(0, 1), x, a); }},
       }) {
    CATCH_CHECK_THAT(error_of(call), Catch::Matchers::ContainsSubstring(message));
  }
}
