#pragma once

#include <cmath>
#include <cstdint>

#include "math/batch_norm.h"
#include "ops/cuda/arguments.h"
#include "ops/cuda/columns.cuh"
#include "ops/cuda/element.cuh"
#include "ops/cuda/geometry.h"
#include "ops/cuda/reduce.cuh"
#include "ops/cuda/rows.cuh"

// The statistics of a batch norm: those of the batch, in one pass over the input, and running ones.
namespace mpelu::cuda {

/// The sums of one thread's elements of a channel, about the first of them.
template <typename V>
class ThreadMoments {
 public:
  /// The elements of one round, which are short enough for sums in V.
  struct Round {
    V sum = 0;
    V squares = 0;
  };

  /// Before the first round; later ones change nothing.
  __device__ void start(V element) { center_ = count_ == 0 ? element : center_; }

  __device__ void add(Round& round, V element) const {
    const V difference = element - center_;
    round.sum += difference;
    round.squares += difference * difference;
  }

  __device__ void take(const Round& round, int count) {
    sum_ += round.sum;
    squares_ += round.squares;
    count_ += count;
  }

  __device__ math::Moments moments() const {
    return count_ == 0 ? math::Moments{}
                       : math::moments_about(center_, static_cast<double>(count_), sum_, squares_);
  }

 private:
  V center_ = 0;
  double sum_ = 0;
  double squares_ = 0;
  int64_t count_ = 0;
};

/// Where a channel's moments go: to its statistics, or first to the workspace, as [splits,
/// columns].
template <typename V>
struct StatisticsOutput {
  math::Moments* partial;
  V* mean;
  V* invstd;
  V* running_mean;
  V* running_var;
  double momentum;
  double eps;

  __device__ void store(int64_t place, const math::Moments& moments) const {
    if (partial != nullptr) {
      partial[place] = moments;
    } else {
      finish(place, moments);
    }
  }

  /// Running statistics may be null; the variance that they keep is the unbiased one.
  __device__ void finish(int64_t channel, const math::Moments& moments) const {
    mean[channel] = static_cast<V>(moments.mean);
    invstd[channel] = static_cast<V>(1 / std::sqrt(moments.squares / moments.count + eps));
    if (running_mean != nullptr) {
      move(running_mean[channel], moments.mean);
    }
    if (running_var != nullptr) {
      move(running_var[channel], moments.squares / (moments.count - 1));
    }
  }

 private:
  __device__ void move(V& running, double batch) const {
    running = static_cast<V>(math::moved(running, batch, momentum));
  }
};

/// A block takes one split of one channel.
template <typename scalar_t, int N>
__global__ void __launch_bounds__(kTileThreads)
    statistics_rows_kernel(const Pack<scalar_t, N>* __restrict__ input, RowsGeometry geometry,
                           StatisticsOutput<Arithmetic<scalar_t>> output) {
  using Thread = ThreadMoments<Arithmetic<scalar_t>>;
  constexpr int kUnroll = unroll(N);
  const Stretch stretch = geometry.stretch();

  Thread thread;
  for (int64_t first = stretch.begin + threadIdx.x; first < stretch.end;
       first += blockDim.x * kUnroll) {
    Pack<scalar_t, N> packs[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int64_t access = first + u * blockDim.x;
      packs[u] =
          load(input + geometry.offset(access, stretch.channel), access < stretch.end, Fill::kZero);
    }
    thread.start(widen(packs[0].values[0]));
    typename Thread::Round round;
    int count = 0;
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      if (first + u * blockDim.x < stretch.end) {
#pragma unroll
        for (int i = 0; i < N; ++i) {
          thread.add(round, widen(packs[u].values[i]));
        }
        count += N;
      }
    }
    thread.take(round, count);
  }

  math::Moments total[1] = {thread.moments()};
  reduce_block(total, 1, blockDim.x);
  if (threadIdx.x == 0) {
    output.store(blockIdx.x, total[0]);
  }
}

/// A block takes one split of a tile, some columns side by side.
template <typename scalar_t, int N>
__global__ void __launch_bounds__(kTileThreads, 3)
    statistics_columns_kernel(const Pack<scalar_t, N>* __restrict__ input, ColumnsGeometry geometry,
                              StatisticsOutput<Arithmetic<scalar_t>> output) {
  using Thread = ThreadMoments<Arithmetic<scalar_t>>;
  constexpr int kUnroll = unroll(N);
  const Strip strip = geometry.strip();

  Thread columns[N];
  for (int64_t first = strip.begin; first < strip.end; first += geometry.height * kUnroll) {
    Pack<scalar_t, N> packs[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int64_t row = first + u * geometry.height;
      packs[u] = load(input + row * geometry.columns + strip.column, row < strip.end, Fill::kZero);
    }
#pragma unroll
    for (int i = 0; i < N; ++i) {
      columns[i].start(widen(packs[0].values[i]));
      typename Thread::Round round;
      int count = 0;
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        if (first + u * geometry.height < strip.end) {
          columns[i].add(round, widen(packs[u].values[i]));
          ++count;
        }
      }
      columns[i].take(round, count);
    }
  }

  math::Moments totals[N];
#pragma unroll
  for (int i = 0; i < N; ++i) {
    totals[i] = columns[i].moments();
  }
  reduce_block(totals, geometry.width, geometry.height);
  if (strip.inside && threadIdx.x < geometry.width) {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      output.store((strip.split * geometry.columns + strip.column) * N + i, totals[i]);
    }
  }
}

/// A block puts together the moments of `width` channels, each by as many threads, which take their
/// `splits` x columns / channels parts in turns.
template <typename V>
__global__ void __launch_bounds__(kTileThreads)
    statistics_finish_kernel(StatisticsOutput<V> output, uint32_t channels, int64_t splits,
                             Divider columns_of_channel, uint32_t width) {
  const uint32_t threads = blockDim.x / width;
  const uint32_t channel = blockIdx.x * width + threadIdx.x % width;
  const int64_t neighbours = columns_of_channel.divisor();
  const int64_t parts = channel < channels ? splits * neighbours : 0;

  math::Moments total[1] = {};
  for (int64_t part = threadIdx.x / width; part < parts; part += threads) {
    const auto [split, place] = columns_of_channel.divide(part);
    total[0] += output.partial[(split * channels + channel) * neighbours + place];
  }
  reduce_block(total, static_cast<int>(width), static_cast<int>(threads));
  if (threadIdx.x < width && parts > 0) {
    output.finish(channel, total[0]);
  }
}

template <typename scalar_t, typename Launch>
void launch_batch_statistics(const BatchStatisticsArguments& arguments, const Plan& plan,
                             Launch& launch) {
  using V = Arithmetic<scalar_t>;
  const Layout& layout = arguments.layout;
  const StatisticsOutput<V> output{reinterpret_cast<math::Moments*>(arguments.workspace),
                                   static_cast<V*>(arguments.mean),
                                   static_cast<V*>(arguments.invstd),
                                   static_cast<V*>(arguments.running_mean),
                                   static_cast<V*>(arguments.running_var),
                                   arguments.momentum,
                                   arguments.eps};
  const auto start = [&]<int N, typename Geometry>(
                         void (*kernel)(const Pack<scalar_t, N>*, Geometry, StatisticsOutput<V>)) {
    launch(kernel, plan.blocks(), plan.threads,
           static_cast<const Pack<scalar_t, N>*>(arguments.input), Geometry(layout, plan), output);
  };
  const bool by_rows = plan.reduction == Plan::Reduction::Rows;
  if (plan.elements_per_access == 1) {
    by_rows ? start(statistics_rows_kernel<scalar_t, 1>)
            : start(statistics_columns_kernel<scalar_t, 1>);
  } else {
    by_rows ? start(statistics_rows_kernel<scalar_t, kWidest<scalar_t>>)
            : start(statistics_columns_kernel<scalar_t, kFew<scalar_t>>);
  }
  if (output.partial != nullptr) {
    const int threads = threads_for(plan.sums() / layout.channels, 1);
    const int width = results_of_block(threads);
    launch(statistics_finish_kernel<V>, ceil_divide(layout.channels, width), width * threads,
           output, static_cast<uint32_t>(layout.channels), plan.splits,
           Divider(plan.columns / layout.channels, plan.sums()), static_cast<uint32_t>(width));
  }
}

/// A thread takes a channel.
template <typename stat_t>
__global__ void __launch_bounds__(kElementwiseThreads)
    running_statistics_kernel(const stat_t* __restrict__ running_mean,
                              const stat_t* __restrict__ running_var,
                              Arithmetic<stat_t>* __restrict__ mean,
                              Arithmetic<stat_t>* __restrict__ invstd, int64_t channels,
                              Arithmetic<stat_t> eps) {
  const int64_t channel = int64_t{blockIdx.x} * kElementwiseThreads + threadIdx.x;
  if (channel < channels) {
    mean[channel] = widen(running_mean[channel]);
    invstd[channel] = 1 / std::sqrt(widen(running_var[channel]) + eps);
  }
}

template <typename stat_t, typename Launch>
void launch_running_statistics(const RunningStatisticsArguments& arguments, Launch& launch) {
  using V = Arithmetic<stat_t>;
  launch(running_statistics_kernel<stat_t>, ceil_divide(arguments.channels, kElementwiseThreads),
         kElementwiseThreads, static_cast<const stat_t*>(arguments.running_mean),
         static_cast<const stat_t*>(arguments.running_var), static_cast<V*>(arguments.mean),
         static_cast<V*>(arguments.invstd), arguments.channels, static_cast<V>(arguments.eps));
}

}  // namespace mpelu::cuda
