#include <cmath>
#include <utility>

#include "../../catch.h"
#include "emulation.h"
#include "ops/cuda/batch_norm.cuh"
#include "ops/cuda/statistics.cuh"
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

constexpr double kEps = 1e-5;
constexpr double kMomentum = 0.1;

/// Of a batch, and running ones that start from 0.
template <typename scalar_t>
struct Statistics {
  using V = cuda::Arithmetic<scalar_t>;

  Statistics(const Buffer<scalar_t>& input, const Layout& layout, unsigned seed)
      : mean(layout.channels),
        invstd(layout.channels),
        running_mean(layout.channels),
        running_var(layout.channels) {
    for (int64_t i = 0; i < layout.channels; ++i) {
      running_mean[i] = running_var[i] = V(0);
    }
    const auto plan = cuda::plan_sums(layout, sizeof(scalar_t), cuda::are_aligned(input.data()),
                                      cuda::kBatchNormColumns);
    Buffer<double> workspace(cuda::statistics_workspace_size(plan, layout));
    cuda::BatchStatisticsArguments arguments{};
    arguments.layout = layout;
    arguments.input = input.data();
    arguments.momentum = kMomentum;
    arguments.eps = kEps;
    arguments.running_mean = running_mean.data();
    arguments.running_var = running_var.data();
    arguments.mean = mean.data();
    arguments.invstd = invstd.data();
    arguments.workspace = workspace.size() > 0 ? workspace.data() : nullptr;
    emulation::Launch launch(seed);
    cuda::launch_batch_statistics<scalar_t>(arguments, plan, launch);
    launches = launch.count;
    intact = mean.intact() && invstd.intact() && running_mean.intact() && running_var.intact() &&
             workspace.intact();
  }

  Buffer<V> mean, invstd, running_mean, running_var;
  int launches;
  bool intact;
};

/// The elements of a channel are about `mean`, but for the first, which is that much larger.
struct StatisticsCase {
  Layout layout;
  int64_t offset = 0;
  double mean = 0;
  double outlier = 0;
};

template <typename scalar_t>
void check_statistics(const StatisticsCase& c) {
  const Layout& layout = c.layout;
  CATCH_INFO("layout [" << layout.outer << ", " << layout.channels << ", " << layout.inner
                        << "], offset " << c.offset << ", mean " << c.mean << ", outlier "
                        << c.outlier << ", " << sizeof(scalar_t) << "-byte elements");
  std::mt19937 random(static_cast<unsigned>(layout.numel()));
  auto input = random_buffer<scalar_t>(layout.numel(), c.offset, c.mean - 1, c.mean + 2, random);
  for (int64_t i = 0; i < layout.channels; ++i) {
    input[i * layout.inner] += static_cast<scalar_t>(c.outlier);
  }
  const Statistics<scalar_t> actual(input, layout, 1);

  const auto count = static_cast<double>(layout.outer * layout.inner);
  const auto size = static_cast<size_t>(layout.channels);
  std::vector<long double> mean(size), variance(size);
  const auto for_each = [&](const auto& body) {
    for (int64_t i = 0; i < layout.numel(); ++i) {
      body(i / layout.inner % layout.channels, static_cast<long double>(input[i]));
    }
  };
  for_each([&](int64_t k, long double x) { mean[k] += x / count; });
  for_each([&](int64_t k, long double x) { variance[k] += (x - mean[k]) * (x - mean[k]) / count; });

  // An element far from the others may be what its thread measures them from.
  const double error = (c.outlier == 0 ? 4 : 32) * epsilon<cuda::Arithmetic<scalar_t>>();
  int64_t wrong = 0;
  for (int64_t k = 0; k < layout.channels; ++k) {
    const auto average = static_cast<double>(mean[k]);
    const auto squares = static_cast<double>(variance[k]);
    const double deviation = std::sqrt(squares);
    const double invstd = 1 / std::sqrt(squares + kEps);
    const double unbiased = squares * count / (count - 1);
    wrong += !is_close(actual.mean[k], average, error * deviation);
    wrong += !is_close(actual.invstd[k], invstd, error * invstd);
    wrong += !is_close(actual.running_mean[k], kMomentum * average, error * deviation);
    wrong += !is_close(actual.running_var[k], kMomentum * unbiased, error * unbiased);
  }
  CATCH_CHECK(wrong == 0);
  CATCH_CHECK(actual.intact);
  CATCH_CHECK(actual.launches <= 2);
}

}  // namespace

CATCH_TEST_CASE("running statistics become mean and 1 / sqrt(var + eps)", "[cuda]") {
  for_each_dtype([]<typename scalar_t, typename stat_t>() {
    using V = cuda::Arithmetic<scalar_t>;
    for (const int64_t channels : {1, 3, 128, 1000}) {
      std::mt19937 random(static_cast<unsigned>(channels));
      const auto running_mean = random_buffer<stat_t>(channels, 0, -2, 2, random);
      const auto running_var = random_buffer<stat_t>(channels, 0, 0, 0.1, random);
      Buffer<V> mean(channels), invstd(channels);
      cuda::RunningStatisticsArguments arguments{};
      arguments.channels = channels;
      arguments.eps = kEps;
      arguments.running_mean = running_mean.data();
      arguments.running_var = running_var.data();
      arguments.mean = mean.data();
      arguments.invstd = invstd.data();
      emulation::Launch launch(1);
      cuda::launch_running_statistics<stat_t>(arguments, launch);
      int64_t wrong = 0;
      for (int64_t i = 0; i < channels; ++i) {
        const double expected = 1 / std::sqrt(static_cast<double>(running_var[i]) + kEps);
        wrong += static_cast<double>(mean[i]) != static_cast<double>(running_mean[i]);
        wrong += !is_close(invstd[i], expected, 2 * epsilon<V>() * expected);
      }
      CATCH_CHECK(wrong == 0);
      CATCH_CHECK(mean.intact());
      CATCH_CHECK(invstd.intact());
      CATCH_CHECK(launch.count == 1);
    }
  });
}

CATCH_TEST_CASE("a batch's statistics equal a float64 loop's, and running ones move", "[cuda]") {
  for_each_dtype([]<typename scalar_t, typename>() {
    for (const int64_t outer : {2, 5}) {
      for (const int64_t channels : {1, 3, 8}) {
        for (const int64_t inner : {1, 2, 4, 7, 8, 33, 64}) {
          for (const int64_t offset : {0, 1}) {
            check_statistics<scalar_t>({.layout = {outer, channels, inner}, .offset = offset});
          }
        }
      }
    }
    for (const auto& layout : kLargeLayouts) {
      check_statistics<scalar_t>({.layout = layout});
    }
  });
}

CATCH_TEST_CASE("a variance is accurate for a mean far from 0 and for elements far from the others",
                "[cuda]") {
  for (const Layout& layout : {Layout{64, 3, 700}, Layout{9000, 4, 1}, Layout{300, 3, 7}}) {
    for (const double mean : {0.0, 1e4}) {
      for (const double outlier : {0.0, 1e5}) {
        check_statistics<float>({.layout = layout, .mean = mean, .outlier = outlier});
      }
    }
  }
}

CATCH_TEST_CASE("a channel that one block can sum needs no launch for its sums alone", "[cuda]") {
  const auto launches = [](const Layout& layout) {
    const Inputs<float, float> inputs(Case{.layout = layout});
    return std::pair(Statistics<float>(inputs.input, layout, 1).launches,
                     Gradients<float, float>(inputs, 1).launches);
  };
  CATCH_CHECK(launches({8, 4, 64}) == std::pair(1, 2));
  CATCH_CHECK(launches({64, 16, 1}) == std::pair(1, 2));
  CATCH_CHECK(launches({1, 1, 70000}) == std::pair(2, 3));
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
    check_statistics<float>({.layout = layout});
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
    "batch norm's statistics and gradients have the same bits in whatever order blocks and threads "
    "run",
    "[cuda]") {
  for (const auto& layout : kLargeLayouts) {
    const Inputs<float, float> inputs(Case{.layout = layout});
    const Statistics<float> one(inputs.input, layout, 1);
    const Statistics<float> other(inputs.input, layout, 2);
    CATCH_CHECK(one.mean.same_bits(other.mean));
    CATCH_CHECK(one.invstd.same_bits(other.invstd));
    const Gradients<float, float> first(inputs, 1);
    const Gradients<float, float> second(inputs, 2);
    CATCH_CHECK(first.input.same_bits(second.input));
    CATCH_CHECK(first.weight.same_bits(second.weight));
    CATCH_CHECK(first.bias.same_bits(second.bias));
    CATCH_CHECK(first.alpha.same_bits(second.alpha));
    CATCH_CHECK(first.beta.same_bits(second.beta));
  }
}
