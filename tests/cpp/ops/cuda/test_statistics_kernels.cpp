#include <cmath>

#include "../../catch.h"
#include "emulation.h"
#include "ops/cuda/statistics.cuh"
#include "samples.h"

// The kernels of a batch norm's statistics, run on the CPU, against loops in wider arithmetic.

using namespace mpelu;
using namespace emulation;

namespace {

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
Buffer<scalar_t> random_input(const StatisticsCase& c) {
  std::mt19937 random(static_cast<unsigned>(c.layout.numel()));
  auto input = random_buffer<scalar_t>(c.layout.numel(), c.offset, c.mean - 1, c.mean + 2, random);
  for (int64_t i = 0; i < c.layout.channels; ++i) {
    input[i * c.layout.inner] += static_cast<scalar_t>(c.outlier);
  }
  return input;
}

template <typename scalar_t>
void check_statistics(const StatisticsCase& c) {
  const Layout& layout = c.layout;
  CATCH_INFO("layout [" << layout.outer << ", " << layout.channels << ", " << layout.inner
                        << "], offset " << c.offset << ", mean " << c.mean << ", outlier "
                        << c.outlier << ", " << sizeof(scalar_t) << "-byte elements");
  const auto input = random_input<scalar_t>(c);
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

CATCH_TEST_CASE("a batch's statistics equal a float64 loop's where a thread takes many elements",
                "[cuda]") {
  for (const auto& layout : kHugeLayouts) {
    check_statistics<float>({.layout = layout});
  }
}

CATCH_TEST_CASE("statistics take one launch where a block has all of a channel, else two",
                "[cuda]") {
  const auto launches = [](const Layout& layout) {
    return Statistics<float>(random_input<float>({.layout = layout}), layout, 1).launches;
  };
  CATCH_CHECK(launches({8, 4, 64}) == 1);
  CATCH_CHECK(launches({64, 16, 1}) == 1);
  CATCH_CHECK(launches({1, 1, 70000}) == 2);
}

CATCH_TEST_CASE("statistics have the same bits in whatever order blocks and threads run",
                "[cuda]") {
  for (const auto& layout : kLargeLayouts) {
    const auto input = random_input<float>({.layout = layout});
    const Statistics<float> first(input, layout, 1);
    const Statistics<float> second(input, layout, 2);
    CATCH_CHECK(first.mean.same_bits(second.mean));
    CATCH_CHECK(first.invstd.same_bits(second.invstd));
  }
}
