#include <cmath>
#include <limits>

#include "../../catch.h"
#include "emulation.h"
#include "ops/cuda/backward.cuh"
#include "ops/cuda/elu_backward.cuh"
#include "ops/cuda/forward.cuh"
#include "samples.h"

// The kernels, run on the CPU, against loops in float64. The GPU's own tests are in tests/python.

using namespace mpelu;
using namespace emulation;

namespace {

/// What the arithmetic of an element may be off by, relative to it.
template <typename T>
double arithmetic_error() {
  return 8 * epsilon<cuda::Arithmetic<T>>();
}

/// A tensor of one layout, its parameters and the number of elements by which it is misaligned.
struct Case {
  Layout layout;
  int64_t offset = 0;
  bool alpha_shared = false;
  bool beta_shared = false;
  bool has_beta = true;
};

template <typename scalar_t, typename param_t>
struct Inputs {
  explicit Inputs(const Case& c)
      : random(static_cast<unsigned>(c.layout.numel())),
        input(random_buffer<scalar_t>(c.layout.numel(), c.offset, -4, 2, random)),
        grad_output(random_buffer<scalar_t>(c.layout.numel(), c.offset, -1, 1, random)),
        alpha(random_buffer<param_t>(c.alpha_shared ? 1 : c.layout.channels, 0, 0.2, 2, random)),
        beta(random_buffer<param_t>(c.beta_shared ? 1 : c.layout.channels, 0, -1, 2, random)),
        has_beta(c.has_beta) {}

  cuda::Parameter alpha_parameter() const { return {alpha.data(), alpha.size()}; }
  cuda::Parameter beta_parameter() const {
    return has_beta ? cuda::Parameter{beta.data(), beta.size()} : cuda::Parameter{};
  }
  double a(int64_t c) const { return static_cast<double>(alpha[alpha.size() == 1 ? 0 : c]); }
  double b(int64_t c) const {
    return has_beta ? static_cast<double>(beta[beta.size() == 1 ? 0 : c]) : 1.0;
  }

  std::mt19937 random;
  Buffer<scalar_t> input;
  Buffer<scalar_t> grad_output;
  Buffer<param_t> alpha;
  Buffer<param_t> beta;
  bool has_beta;
};

template <typename scalar_t, typename param_t>
void check_forward(const Case& c) {
  const Inputs<scalar_t, param_t> inputs(c);
  Buffer<scalar_t> output(c.layout.numel(), c.offset);
  emulation::Launch launch(1);
  cuda::ForwardArguments arguments{};
  arguments.layout = c.layout;
  arguments.input = inputs.input.data();
  arguments.output = output.data();
  arguments.alpha = inputs.alpha_parameter();
  arguments.beta = inputs.beta_parameter();
  cuda::launch_forward<scalar_t, param_t>(arguments, launch);

  int64_t wrong = 0;
  for (int64_t i = 0; i < output.size(); ++i) {
    const int64_t channel = i / c.layout.inner % c.layout.channels;
    const double x = static_cast<double>(inputs.input[i]);
    const double y = x > 0 ? x : inputs.a(channel) * std::expm1(inputs.b(channel) * x);
    wrong += !is_close(output[i], y, arithmetic_error<scalar_t>() * std::abs(y));
  }
  CATCH_CHECK(wrong == 0);
  CATCH_CHECK(output.intact());
  CATCH_CHECK(launch.count == 1);
}

template <typename scalar_t, typename param_t>
struct Gradients {
  Gradients(const Inputs<scalar_t, param_t>& inputs, const Case& c, unsigned seed)
      : input(c.layout.numel(), c.offset), alpha(inputs.alpha.size()), beta(inputs.beta.size()) {
    const bool aligned =
        cuda::are_aligned(inputs.grad_output.data(), inputs.input.data(), input.data());
    const auto plan = cuda::plan_sums(c.layout, sizeof(scalar_t), aligned);
    cuda::BackwardArguments arguments{};
    arguments.tensors = {c.layout, inputs.grad_output.data(), inputs.input.data(), input.data()};
    arguments.alpha = inputs.alpha_parameter();
    arguments.beta = inputs.beta_parameter();
    arguments.grad_alpha = alpha.data();
    arguments.grad_beta = c.has_beta ? beta.data() : nullptr;
    Buffer<double> workspace(cuda::workspace_size(plan, arguments.alpha, arguments.beta));
    arguments.workspace = workspace.size() > 0 ? workspace.data() : nullptr;
    emulation::Launch launch(seed);
    cuda::launch_backward<scalar_t, param_t>(arguments, plan, launch);
    launches = launch.count;
    intact = input.intact() && alpha.intact() && beta.intact() && workspace.intact();
  }

  Buffer<scalar_t> input;
  Buffer<param_t> alpha;
  Buffer<param_t> beta;
  int launches;
  bool intact;
};

/// A parameter's gradient and the size of what was added up to it, for each of its elements.
struct ExpectedSums {
  explicit ExpectedSums(int64_t count) : sums(count), sizes(count) {}

  void add(int64_t channel, double term) {
    const size_t i = sums.size() == 1 ? 0 : channel;
    sums[i] += term;
    sizes[i] += std::abs(term);
  }

  template <typename scalar_t, typename param_t>
  int64_t wrong(const Buffer<param_t>& actual) const {
    int64_t count = 0;
    for (size_t i = 0; i < sums.size(); ++i) {
      count += !is_close(actual[i], sums[i], arithmetic_error<scalar_t>() * sizes[i]);
    }
    return count;
  }

  std::vector<double> sums;
  std::vector<double> sizes;
};

template <typename scalar_t, typename param_t>
void check_backward(const Case& c) {
  const Inputs<scalar_t, param_t> inputs(c);
  const Gradients<scalar_t, param_t> grads(inputs, c, 1);

  ExpectedSums alpha(inputs.alpha.size()), beta(inputs.beta.size());
  int64_t wrong = 0;
  for (int64_t i = 0; i < grads.input.size(); ++i) {
    const int64_t channel = i / c.layout.inner % c.layout.channels;
    const double x = static_cast<double>(inputs.input[i]);
    const double g = static_cast<double>(inputs.grad_output[i]);
    const double a = inputs.a(channel);
    const double b = inputs.b(channel);
    const double e = std::exp(b * x);
    const double dx = x > 0 ? g : g * a * b * e;
    wrong += !is_close(grads.input[i], dx, arithmetic_error<scalar_t>() * std::abs(dx));
    alpha.add(channel, x > 0 ? 0 : g * std::expm1(b * x));
    beta.add(channel, x > 0 ? 0 : g * a * x * e);
  }
  CATCH_CHECK(wrong == 0);
  CATCH_CHECK(alpha.wrong<scalar_t>(grads.alpha) == 0);
  if (c.has_beta) {
    CATCH_CHECK(beta.wrong<scalar_t>(grads.beta) == 0);
  }
  CATCH_CHECK(grads.intact);
  CATCH_CHECK(grads.launches <= 2);
}

std::string describe(const Case& c) {
  return "layout [" + std::to_string(c.layout.outer) + ", " + std::to_string(c.layout.channels) +
         ", " + std::to_string(c.layout.inner) + "], offset " + std::to_string(c.offset);
}

template <typename scalar_t, typename param_t>
void check(const Case& c) {
  CATCH_INFO(describe(c) << ", " << sizeof(scalar_t) << "-byte elements, " << sizeof(param_t)
                         << "-byte parameters");
  check_forward<scalar_t, param_t>(c);
  check_backward<scalar_t, param_t>(c);
}

}  // namespace

CATCH_TEST_CASE("kernels equal a float64 loop for small layouts, aligned or not", "[cuda]") {
  for_each_dtype([]<typename scalar_t, typename param_t>() {
    for (const int64_t outer : {1, 2, 5}) {
      for (const int64_t channels : {1, 2, 3, 8}) {
        for (const int64_t inner : {1, 2, 3, 4, 7, 8, 16, 33, 67}) {
          for (const int64_t offset : {0, 1}) {
            check<scalar_t, param_t>({.layout = {outer, channels, inner}, .offset = offset});
          }
        }
      }
    }
  });
}

CATCH_TEST_CASE("kernels equal a float64 loop for layouts of many blocks", "[cuda]") {
  for_each_dtype([]<typename scalar_t, typename param_t>() {
    for (const auto& layout : kLargeLayouts) {
      check<scalar_t, param_t>({.layout = layout});
    }
  });
}

CATCH_TEST_CASE("the forward equals a float64 loop where a thread takes several accesses",
                "[cuda]") {
  for (const auto& layout : kHugeLayouts) {
    CATCH_INFO(describe({.layout = layout}));
    check_forward<float, float>({.layout = layout});
    check_forward<c10::BFloat16, float>({.layout = layout});
  }
}

CATCH_TEST_CASE("kernels take a parameter for all channels, for each, or a constant", "[cuda]") {
  for (const Layout& layout :
       {Layout{5, 3, 17}, Layout{50, 8, 1}, Layout{40, 3, 1023}, Layout{1000, 40, 4}}) {
    for (const bool alpha_shared : {false, true}) {
      check<float, float>({layout, 0, alpha_shared, false, false});
      for (const bool beta_shared : {false, true}) {
        check<float, float>({layout, 0, alpha_shared, beta_shared, true});
      }
    }
  }
}

CATCH_TEST_CASE("gradients have the same bits in whatever order blocks and threads run", "[cuda]") {
  for (const auto& layout : kLargeLayouts) {
    const Case c{.layout = layout};
    CATCH_INFO(describe(c));
    const Inputs<float, float> inputs(c);
    const Gradients<float, float> first(inputs, c, 1);
    const Gradients<float, float> second(inputs, c, 2);
    CATCH_CHECK(first.input.same_bits(second.input));
    CATCH_CHECK(first.alpha.same_bits(second.alpha));
    CATCH_CHECK(first.beta.same_bits(second.beta));
  }
}

CATCH_TEST_CASE("a channel that one block can sum takes one launch, a longer one two", "[cuda]") {
  const auto launches = [](const Layout& layout) {
    const Case c{.layout = layout};
    return Gradients<float, float>(Inputs<float, float>(c), c, 1).launches;
  };
  CATCH_CHECK(launches({8, 4, 64}) == 1);
  CATCH_CHECK(launches({64, 16, 1}) == 1);
  CATCH_CHECK(launches({1, 1, 70000}) == 2);
}

CATCH_TEST_CASE("a channel without a negative input has gradients of exactly 0 for any parameter",
                "[cuda]") {
  const Case c{.layout = {3, 5, 7}};
  Inputs<float, float> inputs(c);
  for (int64_t i = 0; i < inputs.input.size(); ++i) {
    inputs.input[i] = std::abs(inputs.input[i]) + 1;
  }
  for (int64_t i = 0; i < 5; ++i) {
    inputs.alpha[i] = std::numeric_limits<float>::infinity();
    inputs.beta[i] = std::numeric_limits<float>::quiet_NaN();
  }
  const Gradients<float, float> grads(inputs, c, 1);
  for (int64_t i = 0; i < 5; ++i) {
    CATCH_CHECK(grads.alpha[i] == 0);
    CATCH_CHECK(grads.beta[i] == 0);
  }
}

CATCH_TEST_CASE("the forward kernel overwrites its input", "[cuda]") {
  // Three elements more than fill accesses of four.
  const Case c{.layout = {5, 3, 701}};
  Inputs<float, float> inputs(c);
  Buffer<float> output(c.layout.numel());
  const auto run = [&](void* to) {
    cuda::ForwardArguments arguments{};
    arguments.layout = c.layout;
    arguments.input = inputs.input.data();
    arguments.output = to;
    arguments.alpha = inputs.alpha_parameter();
    arguments.beta = inputs.beta_parameter();
    emulation::Launch launch(1);
    cuda::launch_forward<float, float>(arguments, launch);
  };
  run(output.data());
  run(inputs.input.data());
  CATCH_CHECK(output.same_bits(inputs.input));
}

CATCH_TEST_CASE("elements past the 2^31st have the right channel, and those of a last block one",
                "[cuda]") {
  constexpr int64_t kNarrow = std::numeric_limits<int32_t>::max();
  for (const int64_t end : {kNarrow - 2 * cuda::kMostElementsOfBlock,
                            kNarrow - cuda::kMostElementsOfBlock, kNarrow, 4 * kNarrow}) {
    for (const int64_t inner : {int64_t{1}, int64_t{49}, end / 7}) {
      const Layout layout{end / (7 * inner), 7, inner};
      const cuda::Channels channels(layout);
      for (const int64_t index : {int64_t{0}, layout.numel() / 2, layout.numel() - 1,
                                  layout.numel() + cuda::kMostElementsOfBlock - 1}) {
        CATCH_CAPTURE(describe({.layout = layout}), index);
        const auto [row, column] = channels.inner.divide(index);
        CATCH_CHECK(column == index % inner);
        CATCH_CHECK(channels.count.divide(row).remainder == index / inner % 7);
      }
    }
  }
}

CATCH_TEST_CASE("an empty tensor launches nothing", "[cuda]") {
  emulation::Launch launch(1);
  for (const Layout& layout : {Layout{1, 1, 0}, Layout{0, 3, 5}, Layout{2, 0, 5}}) {
    cuda::ForwardArguments forward{};
    forward.layout = layout;
    cuda::launch_forward<float, float>(forward, launch);
  }
  cuda::launch_elu_backward<float>({}, launch);
  CATCH_CHECK(launch.count == 0);
}

CATCH_TEMPLATE_TEST_CASE("ELU's backward kernel equals a float64 loop from input and from output",
                         "[cuda]", double, float, c10::Half, c10::BFloat16) {
  constexpr double kAlpha = 0.75;
  for (const int64_t numel : {1, 2, 3, 8, 67, 1024, 5000, 5001}) {
    for (const int64_t offset : {0, 1}) {
      for (const bool is_result : {false, true}) {
        const Case c{.layout = {1, 1, numel}, .offset = offset};
        CATCH_INFO(describe(c) << (is_result ? ", from the output" : ", from the input"));
        const Inputs<TestType, TestType> inputs(c);
        Buffer<TestType> grad_input(numel, offset);
        emulation::Launch launch(1);
        cuda::EluBackwardArguments arguments{};
        arguments.numel = numel;
        arguments.grad_output = inputs.grad_output.data();
        arguments.input_or_output = inputs.input.data();
        arguments.grad_input = grad_input.data();
        arguments.alpha = kAlpha;
        arguments.is_result = is_result;
        cuda::launch_elu_backward<TestType>(arguments, launch);

        int64_t wrong = 0;
        for (int64_t i = 0; i < numel; ++i) {
          const double x = static_cast<double>(inputs.input[i]);
          const double g = static_cast<double>(inputs.grad_output[i]);
          const double slope = is_result ? x + kAlpha : kAlpha * std::exp(x);
          const double dx = x > 0 ? g : g * slope;
          const double error = arithmetic_error<TestType>() * (std::abs(dx) + std::abs(g));
          wrong += !is_close(grad_input[i], dx, error);
        }
        CATCH_CHECK(wrong == 0);
        CATCH_CHECK(grad_input.intact());
        CATCH_CHECK(launch.count == 1);
      }
    }
  }
}
