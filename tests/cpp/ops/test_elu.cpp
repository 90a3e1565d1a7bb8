#include <mpelu/ops.h>
#include <torch/torch.h>

#include "../reference.h"

namespace {

at::Tensor scalar(double value) { return torch::tensor(value, at::kDouble); }

}  // namespace

CATCH_TEST_CASE("elu and its gradient equal a float64 loop for every dtype and layout", "[ops]") {
  const auto values = 3 * torch::randn({2, 3, 5, 7}, at::kDouble);
  for (const auto& [dtype, tolerance] : kPrecisions) {
    for (const auto& layout : kLayouts) {
      for (const double alpha : {1.0, 0.25, 0.0, -0.5}) {
        CATCH_CAPTURE(dtype, layout.name, alpha);
        const auto input = layout.apply(values.to(dtype)).requires_grad_();
        const auto output = mpelu::elu(input, alpha);
        CATCH_CHECK(output.scalar_type() == dtype);
        check_close(output, reference::forward(input, scalar(alpha), scalar(1)), tolerance);

        const auto grad_output = torch::randn_like(output);
        const auto grad = torch::autograd::grad({output}, {input}, {grad_output})[0];
        const auto expected = reference::backward(grad_output, input, scalar(alpha), scalar(1));
        check_close(grad, expected.input, tolerance);
      }
    }
  }
}

CATCH_TEST_CASE("elu with alpha 0 is ReLU to the bit, with gradient 0 at 0", "[ops]") {
  const auto input =
      at::cat({torch::randn({67}), torch::tensor({0.0f, -0.0f, -1e4f, 1e-45f, -1e-45f})})
          .requires_grad_();
  const auto output = mpelu::elu(input, 0.0);
  CATCH_CHECK(at::equal(output.view(at::kInt), at::relu(input).view(at::kInt)));
  output.sum().backward();
  CATCH_CHECK(at::equal(input.grad(), (input > 0).to(at::kFloat)));
}

CATCH_TEST_CASE("elu_ overwrites its input and has the gradient of elu", "[ops]") {
  const auto leaf = torch::randn({2, 3, 4}).requires_grad_();
  auto overwritten = leaf.clone();
  auto& result = mpelu::elu_(overwritten, 0.5);
  CATCH_CHECK(&result == &overwritten);
  const auto output = mpelu::elu(leaf, 0.5);
  CATCH_CHECK(at::equal(overwritten, output));

  const auto grad = torch::autograd::grad({overwritten.sum()}, {leaf})[0];
  check_close(grad, torch::autograd::grad({output.sum()}, {leaf})[0].to(at::kDouble), 1e-6);
}

CATCH_TEST_CASE("elu_backward takes the input or the output", "[ops]") {
  const auto input = torch::randn({4, 5}, at::kDouble);
  const auto grad_output = torch::randn({4, 5}, at::kDouble);
  const auto expected = reference::backward(grad_output, input, scalar(0.5), scalar(1)).input;
  check_close(mpelu::elu_backward(grad_output, input, 0.5), expected, 1e-14);
  check_close(mpelu::elu_backward(grad_output, mpelu::elu(input, 0.5), 0.5, /*is_result=*/true),
              expected, 1e-14);
}

CATCH_TEST_CASE("elu takes tensors of any rank and no elements", "[ops]") {
  for (const std::vector<int64_t>& shape :
       std::vector<std::vector<int64_t>>{{}, {0}, {1}, {3}, {0, 3}, {2, 0, 4}, {1, 2, 1, 3, 1}}) {
    CATCH_CAPTURE(shape);
    const auto input = torch::randn(shape, at::kDouble);
    check_close(mpelu::elu(input, 0.5), reference::forward(input, scalar(0.5), scalar(1)), 1e-14);
  }
}

CATCH_TEST_CASE("elu names the argument that it cannot use", "[ops]") {
  auto x = torch::randn({2, 3});
  auto expanded = torch::randn({2, 1}).expand({2, 3});
  struct Case {
    std::string message;
    std::function<void()> call;
  };
  for (const auto& [message, call] : {
           Case{"elu: expected input to be a tensor, got None", [&] { mpelu::elu(at::Tensor()); }},
           Case{"input of dtype", [&] { mpelu::elu(x.to(at::kInt)); }},
           Case{"input of dtype", [&] { mpelu::elu(x.to(at::kComplexFloat)); }},
           Case{"alpha >= 0", [&] { mpelu::elu_(x, -0.5); }},
           Case{"share memory", [&] { mpelu::elu_(expanded); }},
           Case{"alpha >= 0", [&] { mpelu::elu_backward(x, x, -0.5, /*is_result=*/true); }},
           Case{"grad_output", [&] { mpelu::elu_backward(x.slice(1, 1), x); }},
       }) {
    CATCH_CHECK_THAT(error_of(call), Catch::Matchers::ContainsSubstring(message));
  }
}
