#include <mpelu/ops.h>
#include <torch/torch.h>

#include "../reference.h"

namespace {

constexpr double kMomentum = 0.3;
constexpr double kEps = 1e-5;

using OptionalTensor = std::optional<at::Tensor>;

struct Arguments {
  at::Tensor input;
  OptionalTensor weight, bias, running_mean, running_var;
  at::Tensor alpha;
  OptionalTensor beta;
  bool training;
};

/// Copies with all numbers of one dtype, which require gradients but for the running statistics.
Arguments copy_to(const Arguments& a, at::ScalarType dtype) {
  const auto constant = [&](const OptionalTensor& tensor) {
    return tensor ? OptionalTensor(tensor->detach().to(dtype, false, /*copy=*/true)) : std::nullopt;
  };
  const auto variable = [&](const OptionalTensor& tensor) {
    return tensor ? OptionalTensor(constant(tensor)->requires_grad_()) : std::nullopt;
  };
  return {*variable(a.input),      variable(a.weight), variable(a.bias), constant(a.running_mean),
          constant(a.running_var), *variable(a.alpha), variable(a.beta), a.training};
}

/// Far from standardised. Without what may be left out, if not all.
Arguments make_arguments(const at::Tensor& input, bool training, bool all,
                         at::ScalarType parameter_dtype) {
  const int64_t channels = input.size(1);
  const auto numbers = [&](bool given) {
    return given ? OptionalTensor(0.5 + torch::rand({channels})) : std::nullopt;
  };
  auto arguments = copy_to({input, numbers(all), numbers(all), numbers(all || !training),
                            numbers(all || !training), *numbers(true), numbers(all), training},
                           parameter_dtype);
  arguments.input = input.detach().requires_grad_();
  return arguments;
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> fused(const Arguments& a) {
  return mpelu::batch_norm_mpelu(a.input, a.weight, a.bias, a.running_mean, a.running_var, a.alpha,
                                 a.beta, a.training, kMomentum, kEps);
}

at::Tensor pair(const Arguments& a) {
  const auto normalised =
      torch::batch_norm(a.input, a.weight, a.bias, a.running_mean, a.running_var, a.training,
                        kMomentum, kEps, /*cudnn_enabled=*/false);
  return mpelu::mpelu(normalised, a.alpha, a.beta);
}

std::vector<at::Tensor> differentiable(const Arguments& a) {
  std::vector<at::Tensor> tensors = {a.input, a.alpha};
  for (const auto* tensor : {&a.weight, &a.bias, &a.beta}) {
    if (*tensor) {
      tensors.push_back(**tensor);
    }
  }
  return tensors;
}

/// As check_close, with the tolerance relative to the largest element: a difference of large terms
/// has their rounding.
void check_close_to_largest(const at::Tensor& actual, const at::Tensor& expected,
                            double tolerance) {
  const double scale = 1 + expected.abs().max().item<double>();
  check_close(actual.detach().to(at::kDouble) / scale, expected.detach() / scale, tolerance);
}

void check_against_pair(const Arguments& a, double tolerance) {
  const auto exact = copy_to(a, at::kDouble);
  const auto output = std::get<0>(fused(a));
  const auto expected = pair(exact);
  CATCH_CHECK(output.scalar_type() == a.input.scalar_type());
  check_close_to_largest(output, expected, tolerance);

  const auto grad_output = torch::randn_like(output);
  const auto inputs = differentiable(a);
  const auto grads = torch::autograd::grad({output}, inputs, {grad_output});
  const auto expected_grads =
      torch::autograd::grad({expected}, differentiable(exact), {grad_output.to(at::kDouble)});
  for (size_t i = 0; i < grads.size(); ++i) {
    CATCH_CAPTURE(i);
    CATCH_CHECK(grads[i].scalar_type() == inputs[i].scalar_type());
    check_close_to_largest(grads[i], expected_grads[i], tolerance);
  }
  if (a.running_mean) {
    check_close_to_largest(*a.running_mean, *exact.running_mean, tolerance);
    check_close_to_largest(*a.running_var, *exact.running_var, tolerance);
  }
}

}  // namespace

CATCH_TEST_CASE("batch_norm_mpelu equals the pair in float64 for every dtype and layout", "[ops]") {
  const auto values = 2 * torch::randn({4, 3, 5, 7}, at::kDouble) + 3;
  for (const auto& [dtype, tolerance] : kPrecisions) {
    const bool is_half = dtype == at::kHalf || dtype == at::kBFloat16;
    for (const auto& layout : kLayouts) {
      for (const bool training : {true, false}) {
        for (const bool all : {true, false}) {
          CATCH_CAPTURE(dtype, layout.name, training, all);
          const auto arguments = make_arguments(layout.apply(values.to(dtype)), training, all,
                                                is_half ? at::kFloat : dtype);
          // A few roundings, where the activation alone has one.
          check_against_pair(arguments, 4 * tolerance);
        }
      }
    }
  }
}

CATCH_TEST_CASE("batch_norm_mpelu returns the statistics that it used, as constants", "[ops]") {
  const auto input = 2 * torch::randn({4, 3, 5}, at::kDouble) + 3;
  const std::vector<int64_t> dims = {0, 2};
  for (const bool training : {true, false}) {
    const auto a = make_arguments(input, training, true, at::kDouble);
    const auto running = copy_to(a, at::kDouble);
    const auto [output, mean, invstd] = fused(a);
    const auto variance = input.var(dims, /*unbiased=*/false);
    check_close(mean, training ? input.mean(dims) : *running.running_mean, 1e-14);
    check_close(invstd, ((training ? variance : *running.running_var) + kEps).rsqrt(), 1e-14);
    CATCH_CHECK(output.requires_grad());
    CATCH_CHECK_FALSE(mean.requires_grad());
    CATCH_CHECK_FALSE(invstd.requires_grad());
  }
}

CATCH_TEST_CASE("batch_norm_mpelu_backward has an empty tensor for what is left out", "[ops]") {
  for (const bool all : {true, false}) {
    const auto a = make_arguments(torch::randn({4, 3, 5}, at::kDouble), true, all, at::kDouble);
    const auto [output, mean, invstd] = fused(a);
    const auto grad_output = torch::randn_like(output);
    const torch::NoGradGuard no_grad;
    const auto [input, weight, bias, alpha, beta] = mpelu::batch_norm_mpelu_backward(
        grad_output, a.input, a.weight, a.bias, mean, invstd, a.alpha, a.beta, a.training, kEps);
    CATCH_CHECK(input.sizes() == a.input.sizes());
    CATCH_CHECK(alpha.numel() == 3);
    for (const auto* gradient : {&weight, &bias, &beta}) {
      CATCH_CHECK(gradient->numel() == (all ? 3 : 0));
    }
  }
}

CATCH_TEST_CASE("batch_norm_mpelu of no element leaves the running statistics", "[ops]") {
  const auto a = make_arguments(torch::empty({0, 3, 4}), true, true, at::kFloat);
  const auto mean = a.running_mean->clone();
  const auto variance = a.running_var->clone();
  CATCH_CHECK(std::get<0>(fused(a)).sizes() == a.input.sizes());
  CATCH_CHECK(at::equal(*a.running_mean, mean));
  CATCH_CHECK(at::equal(*a.running_var, variance));
}

CATCH_TEST_CASE("batch_norm_mpelu takes undefined tensors for none, as torch's own operators do",
                "[ops]") {
  auto a = make_arguments(torch::randn({4, 3, 5}), true, false, at::kFloat);
  const auto output = std::get<0>(fused(a));
  a.weight = a.bias = a.running_mean = a.running_var = a.beta = at::Tensor();
  const auto same = std::get<0>(fused(a));
  CATCH_CHECK(torch::equal(output, same));
  same.sum().backward();
  CATCH_CHECK(a.alpha.grad().defined());
}

CATCH_TEST_CASE("batch_norm_mpelu names the argument that it cannot use", "[ops]") {
  const auto x = torch::randn({4, 3, 2});
  const auto three = torch::ones({3});
  const auto four = torch::ones({4});
  const OptionalTensor none;
  struct Case {
    std::string message;
    Arguments arguments;
  };
  for (const auto& [message, arguments] : {
           Case{"input to be a tensor, got None",
                {at::Tensor(), none, none, none, none, three.clone().requires_grad_(), none, true}},
           Case{"alpha to be a tensor, got None",
                {x.clone().requires_grad_(), none, none, none, none, at::Tensor(), none, true}},
           Case{"at least 2 dimensions", {three, none, none, none, none, three, none, true}},
           Case{"weight to have one element", {x, four, none, none, none, three, none, true}},
           Case{"bias to have the dtype",
                {x, none, three.to(at::kDouble), none, none, three, none, true}},
           Case{"running_mean to have one", {x, none, none, four, none, three, none, true}},
           Case{"running_var to have one", {x, none, none, none, four, three, none, true}},
           Case{"alpha to have 1 element", {x, none, none, none, none, four, none, true}},
           Case{"beta to have 1 element", {x, none, none, none, none, three, four, true}},
           Case{"running_mean and running_var", {x, none, none, none, none, three, none, false}},
           Case{"both running_mean and running_var or neither, got None for running_var",
                {x, none, none, three, none, three, none, true}},
           Case{"more than 1 value",
                {x.slice(0, 0, 1).slice(2, 0, 1), none, none, none, none, three, none, true}},
       }) {
    const Arguments given = arguments;
    CATCH_CHECK_THAT(error_of([&] { fused(given); }),
                     Catch::Matchers::ContainsSubstring("batch_norm_mpelu: expected ") &&
                         Catch::Matchers::ContainsSubstring(message));
  }
}
