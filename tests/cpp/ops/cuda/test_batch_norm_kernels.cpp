#include <cmath>

#include "../../catch.h"
#include "emulation.h"
#include "ops/cuda/batch_norm.cuh"
#include "samples.h"

// Batch norm's kernels, run on the CPU, against loops in float64.

using namespace mpelu;
using namespace emulation;

namespace {

struct Case {
  Layout layout;
  int64_t offset = 0;
  bool shared = false;
  bool affine = true;
  bool has_beta = true;
  bool training = true;
};

template <typename scalar_t, typename param_t>
struct Inputs {
  using V = cuda::Arithmetic<scalar_t>;

  explicit Inputs(const Case& c)
      : c(c),
        random(static_cast<unsigned>(c.layout.numel())),
        input(random_buffer<scalar_t>(c.layout.numel(), c.offset, -4, 2, random)),
        grad_output(random_buffer<scalar_t>(c.layout.numel(), c.offset, -1, 1, random)),
        mean(random_buffer<V>(c.layout.channels, 0, -2, 1, random)),
        invstd(random_buffer<V>(c.layout.channels, 0, 0.5, 1.5, random)),
        weight(random_buffer<param_t>(c.layout.channels, 0, -1.5, 1.5, random)),
        bias(random_buffer<param_t>(c.layout.channels, 0, -1, 1, random)),
        alpha(random_buffer<param_t>(c.shared ? 1 : c.layout.channels, 0, 0.2, 2, random)),
        beta(random_buffer<param_t>(c.shared ? 1 : c.layout.channels, 0, -0.2, 2, random)) {}

  cuda::BatchNormParameters parameters() const {
    cuda::BatchNormParameters result{mean.data(), invstd.data(), {}, {.value = 0}, {}, {}};
    if (c.affine) {
      result.weight = {weight.data(), weight.size()};
      result.bias = {bias.data(), bias.size()};
    }
    result.alpha = {alpha.data(), alpha.size()};
    if (c.has_beta) {
      result.beta = {beta.data(), beta.size()};
    }
    return result;
  }

  double a(int64_t channel) const { return static_cast<double>(alpha[c.shared ? 0 : channel]); }
  double b(int64_t channel) const {
    return c.has_beta ? static_cast<double>(beta[c.shared ? 0 : channel]) : 1.0;
  }
  double w(int64_t channel) const { return c.affine ? static_cast<double>(weight[channel]) : 1.0; }
  double o(int64_t channel) const { return c.affine ? static_cast<double>(bias[channel]) : 0.0; }

  Case c;
  std::mt19937 random;
  Buffer<scalar_t> input, grad_output;
  Buffer<V> mean, invstd;
  Buffer<param_t> weight, bias, alpha, beta;
};

template <typename scalar_t, typename param_t>
struct Gradients {
  using V = cuda::Arithmetic<scalar_t>;

  Gradients(const Inputs<scalar_t, param_t>& inputs, unsigned seed)
      : input(inputs.input.size(), inputs.c.offset),
        weight(inputs.weight.size()),
        bias(inputs.bias.size()),
        alpha(inputs.alpha.size()),
        beta(inputs.beta.size()) {
    const Case& c = inputs.c;
    const bool aligned =
        cuda::are_aligned(inputs.grad_output.data(), inputs.input.data(), input.data());
    const auto plan = cuda::plan_sums(c.layout, sizeof(scalar_t), aligned, cuda::kBatchNormColumns);
    const auto parameters = inputs.parameters();
    Buffer<double> workspace(
        cuda::batch_norm_workspace_size(plan, c.layout, parameters.alpha, parameters.beta));
    Buffer<V> means(2 * c.layout.channels);
    cuda::BatchNormBackwardArguments arguments{};
    arguments.tensors = {c.layout, inputs.grad_output.data(), inputs.input.data(), input.data()};
    arguments.parameters = parameters;
    arguments.grad_weight = c.affine ? weight.data() : nullptr;
    arguments.grad_bias = c.affine ? bias.data() : nullptr;
    arguments.grad_alpha = alpha.data();
    arguments.grad_beta = c.has_beta ? beta.data() : nullptr;
    arguments.means = c.training ? means.data() : nullptr;
    arguments.workspace = workspace.size() > 0 ? workspace.data() : nullptr;
    emulation::Launch launch(seed);
    cuda::launch_batch_norm_backward<scalar_t, param_t>(arguments, plan, launch);
    launches = launch.count;
    intact = input.intact() && weight.intact() && bias.intact() && alpha.intact() &&
             beta.intact() && workspace.intact() && means.intact();
  }

  Buffer<scalar_t> input;
  Buffer<param_t> weight, bias, alpha, beta;
  int launches;
  bool intact;
};

template <typename scalar_t, typename param_t>
void check(const Case& c) {
  const Layout& layout = c.layout;
  CATCH_INFO("layout [" << layout.outer << ", " << layout.channels << ", " << layout.inner
                        << "], offset " << c.offset << ", " << sizeof(scalar_t)
                        << "-byte elements, " << sizeof(param_t) << "-byte parameters, shared "
                        << c.shared << ", affine " << c.affine << ", beta " << c.has_beta
                        << ", training " << c.training);
  const Inputs<scalar_t, param_t> inputs(c);
  const Gradients<scalar_t, param_t> grads(inputs, 1);
  Buffer<scalar_t> output(layout.numel(), c.offset);
  emulation::Launch launch(1);
  cuda::BatchNormForwardArguments forward{};
  forward.layout = layout;
  forward.input = inputs.input.data();
  forward.output = output.data();
  forward.parameters = inputs.parameters();
  cuda::launch_batch_norm_forward<scalar_t, param_t>(forward, launch);

  const double error =
      32 * static_cast<double>(std::numeric_limits<cuda::Arithmetic<scalar_t>>::epsilon());
  const int64_t channels = layout.channels;
  const auto count = static_cast<double>(layout.outer * layout.inner);
  const auto channel_of = [&](int64_t i) { return i / layout.inner % channels; };
  const auto size = static_cast<size_t>(channels);
  std::vector<double> weight(size), bias(size), alpha(size), beta(size), sizes(size), scaled(size);
  std::vector<double> direct(layout.numel()), slope(layout.numel());
  int64_t wrong = 0;
  for (int64_t i = 0; i < layout.numel(); ++i) {
    const int64_t k = channel_of(i);
    const double centered =
        static_cast<double>(inputs.input[i]) - static_cast<double>(inputs.mean[k]);
    const auto invstd = static_cast<double>(inputs.invstd[k]);
    const double u = centered * invstd * inputs.w(k) + inputs.o(k);
    const double m = u > 0 ? 0 : std::expm1(inputs.b(k) * u);
    const double y = u > 0 ? u : inputs.a(k) * m;
    wrong += !is_close(output[i], y, error * (std::abs(y) + 4));
    const auto g = static_cast<double>(inputs.grad_output[i]);
    direct[i] = u > 0 ? g : g * inputs.a(k) * inputs.b(k) * (m + 1);
    weight[k] += direct[i] * centered * invstd;
    bias[k] += direct[i];
    alpha[k] += g * m;
    beta[k] += u > 0 ? 0 : g * inputs.a(k) * u * (m + 1);
    sizes[k] += 8 * std::abs(g);
    scaled[k] = invstd * inputs.w(k);
  }
  CATCH_CHECK(wrong == 0);
  CATCH_CHECK(output.intact());
  CATCH_CHECK(launch.count == 1);

  wrong = 0;
  for (int64_t i = 0; i < layout.numel(); ++i) {
    const int64_t k = channel_of(i);
    const double centered =
        static_cast<double>(inputs.input[i]) - static_cast<double>(inputs.mean[k]);
    const auto invstd = static_cast<double>(inputs.invstd[k]);
    const double through = c.training ? (bias[k] + weight[k] * invstd * centered) / count : 0.0;
    const double dx = scaled[k] * (direct[i] - through);
    wrong += !is_close(grads.input[i], dx, error * (std::abs(dx) + 8));
  }
  CATCH_CHECK(wrong == 0);

  const auto wrong_sums = [&](const Buffer<param_t>& actual, const std::vector<double>& sums) {
    std::vector<double> expected(sums), bound(sizes);
    if (actual.size() == 1) {
      expected = {std::accumulate(sums.begin(), sums.end(), 0.0)};
      bound = {std::accumulate(sizes.begin(), sizes.end(), 0.0)};
    }
    int64_t count = 0;
    for (int64_t i = 0; i < actual.size(); ++i) {
      count += !is_close(actual[i], expected[i], error * bound[i]);
    }
    return count;
  };
  CATCH_CHECK(wrong_sums(grads.alpha, alpha) == 0);
  if (c.has_beta) {
    CATCH_CHECK(wrong_sums(grads.beta, beta) == 0);
  }
  if (c.affine) {
    CATCH_CHECK(wrong_sums(grads.weight, weight) == 0);
    CATCH_CHECK(wrong_sums(grads.bias, bias) == 0);
  }
  CATCH_CHECK(grads.intact);
  CATCH_CHECK(grads.launches <= 3);
}

}  // namespace

CATCH_TEST_CASE("a channel that one block can sum needs no launch for its sums alone", "[cuda]") {
  const auto launches = [](const Layout& layout) {
    const Inputs<float, float> inputs(Case{.layout = layout});
    return Gradients<float, float>(inputs, 1).launches;
  };
  CATCH_CHECK(launches({8, 4, 64}) == 2);
  CATCH_CHECK(launches({64, 16, 1}) == 2);
  CATCH_CHECK(launches({1, 1, 70000}) == 3);
}

CATCH_TEST_CASE("batch norm's kernels equal a float64 loop for small layouts", "[cuda]") {
  for_each_dtype([]<typename scalar_t, typename param_t>() {
    for (const int64_t outer : {1, 2, 5}) {
      for (const int64_t channels : {1, 2, 3, 8}) {
        for (const int64_t inner : {1, 2, 4, 7, 8, 33, 64}) {
          for (const int64_t offset : {0, 1}) {
            check<scalar_t, param_t>({.layout = {outer, channels, inner}, .offset = offset});
          }
        }
      }
    }
  });
}

CATCH_TEST_CASE("batch norm's kernels equal a float64 loop for layouts of many blocks", "[cuda]") {
  for_each_dtype([]<typename scalar_t, typename param_t>() {
    for (const auto& layout : kLargeLayouts) {
      check<scalar_t, param_t>({.layout = layout});
    }
  });
}

CATCH_TEST_CASE("batch norm's kernels equal a float64 loop where a thread takes several accesses",
                "[cuda]") {
  for (const auto& layout : kHugeLayouts) {
    check<float, float>({.layout = layout});
    check<c10::BFloat16, float>({.layout = layout});
  }
}

CATCH_TEST_CASE("batch norm's kernels take every kind of parameter, in training or not", "[cuda]") {
  for (const Layout& layout : {Layout{5, 3, 17}, Layout{50, 8, 1}, Layout{40, 3, 1023}}) {
    for (const bool shared : {false, true}) {
      for (const bool affine : {false, true}) {
        for (const bool has_beta : {false, true}) {
          for (const bool training : {false, true}) {
            check<float, float>({layout, 0, shared, affine, has_beta, training});
          }
        }
      }
    }
  }
}

CATCH_TEST_CASE(
    "batch norm's gradients have the same bits in whatever order blocks and threads run",
    "[cuda]") {
  for (const auto& layout : kLargeLayouts) {
    const Inputs<float, float> inputs(Case{.layout = layout});
    const Gradients<float, float> first(inputs, 1);
    const Gradients<float, float> second(inputs, 2);
    CATCH_CHECK(first.input.same_bits(second.input));
    CATCH_CHECK(first.weight.same_bits(second.weight));
    CATCH_CHECK(first.bias.same_bits(second.bias));
    CATCH_CHECK(first.alpha.same_bits(second.alpha));
    CATCH_CHECK(first.beta.same_bits(second.beta));
  }
}
