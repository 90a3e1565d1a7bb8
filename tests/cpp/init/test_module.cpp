#include <mpelu/init.h>
#include <mpelu/nn.h>
#include <torch/torch.h>

#include <cmath>

#include "../catch.h"
#include "../stack.h"

using mpelu::init::Distribution;
using mpelu::init::FanMode;
using mpelu::init::taylor_init_;
using torch::nn::Sequential;

namespace {

at::Generator generator() { return at::detail::createCPUGenerator(7); }

/// The slope alpha * beta that a weight was filled for, as its generator's first draws tell.
double slope_of(const at::Tensor& weight, FanMode mode = FanMode::FanIn) {
  const auto relu = mpelu::init::taylor_normal_(torch::empty_like(weight), 0, 1, mode, generator());
  const double ratio = (relu / weight).mean().item<double>();
  return std::sqrt(ratio * ratio - 1);
}

/// Initialises a model and returns the slope that its first layer was filled for.
double first_slope(Sequential model) {
  taylor_init_(*model, std::nullopt, std::nullopt, FanMode::FanIn, Distribution::Normal,
               generator());
  return slope_of(model->parameters()[0].detach());
}

/// A container whose order of execution cannot be seen.
struct OpaqueImpl : torch::nn::Module {
  explicit OpaqueImpl(Stack inner) { register_module("inner", inner); }
  at::Tensor forward(at::Tensor x) { return x; }
};
TORCH_MODULE(Opaque);

}  // namespace

CATCH_TEST_CASE("taylor_init_ fills a weight for the activation that follows", "[init]") {
  mpelu::nn::MPELU per_channel(2);
  mpelu::nn::SPELU shared(mpelu::nn::SPELUOptions().alpha(0.5));
  {
    const torch::NoGradGuard no_grad;
    per_channel->alpha.copy_(torch::tensor({1.0, 3.0}));
    per_channel->beta.copy_(torch::tensor({2.0, 1.0}));
  }
  const auto linear = [] { return torch::nn::Linear(3, 2); };
  const auto options = mpelu::nn::BatchNormMPELUOptions(2).alpha(0.5).beta(3);
  const auto without_beta = mpelu::nn::BatchNormMPELUOptions(2).alpha(0.7).beta(std::nullopt);
  struct Case {
    const char* name;
    Sequential model;
    double slope;
  };
  for (auto [name, model, slope] : {
           Case{"MPELU", Sequential(linear(), per_channel), std::sqrt((4.0 + 9.0) / 2)},
           Case{"SPELU", Sequential(linear(), shared), 0.5},
           Case{"BatchNormMPELU1d", Sequential(linear(), mpelu::nn::BatchNormMPELU1d(options)),
                1.5},
           Case{"BatchNormMPELU2d",
                Sequential(torch::nn::Conv2d(3, 2, 3), mpelu::nn::BatchNormMPELU2d(options)), 1.5},
           Case{"BatchNormMPELU3d",
                Sequential(torch::nn::Conv3d(3, 2, 3), mpelu::nn::BatchNormMPELU3d(options)), 1.5},
           Case{"BatchNormMPELU without beta",
                Sequential(linear(), mpelu::nn::BatchNormMPELU1d(without_beta)), 0.7},
           Case{"BatchNormMPELU, not the activation after it",
                Sequential(linear(), mpelu::nn::BatchNormMPELU1d(options), mpelu::nn::ELU(0.3)),
                1.5},
           Case{"ELU", Sequential(linear(), mpelu::nn::ELU(0.3)), 0.3},
           Case{"torch's ELU",
                Sequential(linear(), torch::nn::ELU(torch::nn::ELUOptions().alpha(2))), 2.0},
           Case{"PReLU",
                Sequential(linear(), torch::nn::PReLU(torch::nn::PReLUOptions().init(0.4))), 0.4},
           Case{"LeakyReLU",
                Sequential(linear(),
                           torch::nn::LeakyReLU(torch::nn::LeakyReLUOptions().negative_slope(0.1))),
                0.1},
           Case{"ReLU", Sequential(linear(), torch::nn::ReLU()), 0.0},
           Case{"past other layers",
                Sequential(torch::nn::Conv1d(3, 2, 3), torch::nn::BatchNorm1d(2),
                           torch::nn::Dropout(), torch::nn::MaxPool1d(2), torch::nn::Identity(),
                           torch::nn::Flatten(), shared),
                0.5},
           Case{"in another Sequential", Sequential(Stack(linear()), Stack(shared)), 0.5},
       }) {
    CATCH_CAPTURE(name);
    CATCH_CHECK(std::abs(first_slope(model) - slope) < 1e-3);
  }
}

CATCH_TEST_CASE("taylor_init_ fills every kind of layer by its own fan and zeroes the bias",
                "[init]") {
  const auto activation = [] { return torch::nn::ReLU(); };
  struct Case {
    const char* name;
    Sequential model;
    FanMode mode;  // the fan_in of this layer, in terms of its weight's shape
  };
  for (auto [name, model, mode] : {
           Case{"Linear", Sequential(torch::nn::Linear(3, 2), activation()), FanMode::FanIn},
           Case{"Conv1d", Sequential(torch::nn::Conv1d(3, 2, 5), activation()), FanMode::FanIn},
           Case{"Conv2d", Sequential(torch::nn::Conv2d(3, 2, 5), activation()), FanMode::FanIn},
           Case{"Conv3d", Sequential(torch::nn::Conv3d(3, 2, 5), activation()), FanMode::FanIn},
           Case{"ConvTranspose1d", Sequential(torch::nn::ConvTranspose1d(3, 2, 5), activation()),
                FanMode::FanOut},
           Case{"ConvTranspose2d", Sequential(torch::nn::ConvTranspose2d(3, 2, 5), activation()),
                FanMode::FanOut},
           Case{"ConvTranspose3d", Sequential(torch::nn::ConvTranspose3d(3, 2, 5), activation()),
                FanMode::FanOut},
       }) {
    CATCH_CAPTURE(name);
    for (const auto distribution : {Distribution::Normal, Distribution::Uniform}) {
      taylor_init_(*model, std::nullopt, std::nullopt, FanMode::FanIn, distribution, generator());
      const auto parameters = model->parameters();
      const auto fill = distribution == Distribution::Normal ? mpelu::init::taylor_normal_
                                                             : mpelu::init::taylor_uniform_;
      const auto expected = fill(torch::empty_like(parameters[0]), 0, 1, mode, generator());
      CATCH_CHECK(at::equal(parameters[0], expected));
      CATCH_CHECK(at::equal(parameters[1], torch::zeros_like(parameters[1])));
    }
  }
}

CATCH_TEST_CASE("taylor_init_ gives each group of a convolution fans of its own", "[init]") {
  torch::nn::Conv2d conv(torch::nn::Conv2dOptions(6, 4, 5).groups(2));
  torch::nn::ConvTranspose2d transposed(torch::nn::ConvTranspose2dOptions(6, 4, 5).groups(2));
  const struct {
    Sequential model;
    FanMode mode;
    FanMode of_shape;  // the same of one group, in terms of its weight's shape
  } cases[] = {
      {Sequential(conv, torch::nn::ReLU()), FanMode::FanIn, FanMode::FanIn},
      {Sequential(conv, torch::nn::ReLU()), FanMode::FanOut, FanMode::FanOut},
      {Sequential(transposed, torch::nn::ReLU()), FanMode::FanIn, FanMode::FanOut},
      {Sequential(transposed, torch::nn::ReLU()), FanMode::FanOut, FanMode::FanIn},
  };
  for (auto [model, mode, of_shape] : cases) {
    taylor_init_(*model, std::nullopt, std::nullopt, mode, Distribution::Normal, generator());
    const auto weight = model->parameters()[0].detach();
    const double fan = mpelu::init::calculate_fan(weight.chunk(2)[0].sizes(), of_shape);
    const auto expected =
        torch::empty_like(weight).normal_(0, mpelu::init::taylor_std(fan, 0, 1), generator());
    CATCH_CHECK(at::equal(weight, expected));
  }
}

CATCH_TEST_CASE("taylor_init_ uses its arguments where it cannot tell the activation", "[init]") {
  using mpelu::nn::ELU;
  const torch::nn::Linear twice(2, 2);
  struct Case {
    const char* name;
    Sequential model;
    const char* layer;
  };
  for (auto [name, model, layer] : {
           Case{"the last layer", Sequential(torch::nn::Linear(3, 2)), "'0'"},
           Case{"two layers in a row",
                Sequential(torch::nn::Linear(3, 2), torch::nn::Linear(2, 2), ELU()), "'0'"},
           Case{"a layer before two activations",
                Sequential(twice, ELU(), twice, torch::nn::ReLU()), "'0'"},
           Case{"an unknown activation", Sequential(torch::nn::Linear(3, 2), torch::nn::Tanh()),
                "'0'"},
           Case{"a container's end", Sequential(Opaque(Stack(torch::nn::Linear(3, 2))), ELU()),
                "'0.inner.0'"},
           Case{"a container's start", Sequential(torch::nn::Linear(3, 2), Opaque(Stack(ELU()))),
                "'0'"},
       }) {
    CATCH_CAPTURE(name);
    const auto before = model->parameters()[0].clone();
    CATCH_CHECK_THAT(error_of([&] { taylor_init_(*model); }),
                     Catch::Matchers::ContainsSubstring(layer));
    CATCH_CHECK(at::equal(model->parameters()[0], before));

    taylor_init_(*model, 0.5, 3.0, FanMode::FanIn, Distribution::Normal, generator());
    CATCH_CHECK(std::abs(slope_of(model->parameters()[0].detach()) - 1.5) < 1e-3);
  }
}

CATCH_TEST_CASE("taylor_init_ fills a layer once that stands in several places", "[init]") {
  const torch::nn::Linear twice(3, 3);
  const double slope = first_slope(Sequential(twice, mpelu::nn::ELU(), twice, mpelu::nn::ELU()));
  CATCH_CHECK(std::abs(slope - 1) < 1e-3);
}

CATCH_TEST_CASE("taylor_init_ leaves the model where an alpha is not finite", "[init]") {
  Sequential model(torch::nn::Linear(3, 3), torch::nn::ReLU(), torch::nn::Linear(3, 3),
                   mpelu::nn::MPELU(3));
  const auto before = model->parameters()[0].clone();
  CATCH_CHECK(error_of([&] { taylor_init_(*model, NAN, 1.0); }) == "alpha must be finite, got nan");
  CATCH_CHECK_THAT(error_of([&] { taylor_init_(*model, 1e200, 1e200); }),
                   Catch::Matchers::ContainsSubstring("alpha * beta must be finite"));
  torch::NoGradGuard guard;
  model->ptr<mpelu::nn::MPELUImpl>(3)->alpha.fill_(NAN);
  CATCH_CHECK(error_of([&] { taylor_init_(*model); }) ==
              "the slope of the activation after '2' must be finite, got nan");
  CATCH_CHECK(at::equal(model->parameters()[0], before));
}

CATCH_TEST_CASE("an alpha or beta that taylor_init_ is not given is 1", "[init]") {
  const auto weight_for = [](std::optional<double> alpha, std::optional<double> beta) {
    Sequential model(torch::nn::Linear(3, 2));
    taylor_init_(*model, alpha, beta, FanMode::FanIn, Distribution::Normal, generator());
    return model->parameters()[0].detach();
  };
  CATCH_CHECK(at::equal(weight_for(0.5, std::nullopt), weight_for(0.5, 1.0)));
  CATCH_CHECK(at::equal(weight_for(std::nullopt, 0.5), weight_for(1.0, 0.5)));
}
