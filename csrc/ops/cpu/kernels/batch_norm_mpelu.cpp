#include <ATen/Dispatch.h>
#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include "ops/cpu/kernels/batch_norm_lanes.h"
#include "ops/cpu/kernels/build.h"
#include "ops/cpu/kernels/map_forward.h"
#include "ops/cpu/kernels/two_passes.h"

// The forward passes over the input twice, for its statistics and for the output. The backward has
// a pass for its sums and for the gradient of the normalised input, and one for that of the input,
// which depends on the sums. Where the layout lets them, both passes go over a few channels at a
// time, so that the second finds in the cache what the first has left there. The second pass of the
// backward is that of the memory and the first that of the arithmetic: they go together, one over
// some channels and the other over the next. Between the two the gradient is rounded to the input's
// dtype, as it is between a batch norm and its activation.
namespace mpelu::cpu {
namespace {

/// A first guess of a channel's mean: that of about so many elements far from each other.
constexpr int64_t kGuesses = 16;
/// The guess will do while the mean is no more than this many standard deviations away.
constexpr double kNear = 4;

template <typename scalar_t, typename T = at::opmath_type<scalar_t>>
std::vector<CenterLane<T>> guess_means(const scalar_t* input, const Layout& layout) {
  std::vector<CenterLane<T>> centers(layout.channels);
  const int64_t row_size = layout.channels * layout.inner + layout.skipped;
  const int64_t rows = std::min(layout.outer, kGuesses);
  const int64_t in_a_row = std::min(layout.inner, ceil_divide(kGuesses, rows));
  const int64_t rows_apart = layout.outer / rows * row_size;
  const int64_t apart = layout.inner / in_a_row;
  for (int64_t channel = 0; channel < layout.channels; ++channel) {
    double sum = 0;
    for (int64_t row = 0; row < rows; ++row) {
      const scalar_t* const first = input + row * rows_apart + channel * layout.inner;
      for (int64_t i = 0; i < in_a_row; ++i) {
        sum += static_cast<double>(first[i * apart]);
      }
    }
    centers[channel].center = static_cast<T>(sum / (rows * in_a_row));
  }
  return centers;
}

/// Adds a vector's valid elements and their squares to the sums, about the channel's center.
template <typename V>
MPELU_ALWAYS_INLINE inline void add_about(const V& center, const V& x, int64_t valid,
                                          SumArray<V, 2>& sums) {
  const V difference = or_else(x - center, valid, V(0));
  sums[0] = sums[0] + difference;
  sums[1] = at::vec::fmadd(difference, difference, sums[1]);
}

template <typename scalar_t, typename T = at::opmath_type<scalar_t>>
ChannelTotals<2> sums_about(const std::vector<CenterLane<T>>& centers, const scalar_t* input,
                            const Layout& layout) {
  using V = at::vec::Vectorized<T>;
  return sum_runs<2, scalar_t>(
      layout, centers, Outputs::kInCache,
      [&](const auto& run, const auto& visit) MPELU_ALWAYS_INLINE {
        sum_span(run, run.of(input), visit,
                 [](const V& x, int64_t valid, const V& center, auto& sums)
                     MPELU_ALWAYS_INLINE { add_about(center, x, valid, sums); });
      });
}

/// The forward where the statistics are those of the input.
template <typename scalar_t>
class ForwardPasses {
  using T = at::opmath_type<scalar_t>;
  using V = at::vec::Vectorized<T>;
  using Due = SecondPass<BatchNormLane<T>>;

 public:
  ForwardPasses(scalar_t* output, const scalar_t* input, const BatchNormParameters& parameters,
                double* variance, double eps, const Layout& layout)
      : output_(output),
        input_(input),
        parameters_(parameters),
        variance_(variance),
        eps_(eps),
        count_(static_cast<double>(layout.outer * layout.inner)),
        outputs_(outputs_for(output, input, layout)) {}

  Due first(const Parts::Unit& part) const {
    const auto centers = guess_means(input_ + part.offset, part.layout);
    return settle(part, centers, sums_about(centers, input_ + part.offset, part.layout));
  }

  void second(const Due& due) const {
    map_forward<Precision::kRounded>(output_ + due.part.offset, input_ + due.part.offset, due.lanes,
                                     due.part.layout);
  }

  Due both(const Due& due, const Parts::Unit& part) const {
    const auto centers = guess_means(input_ + part.offset, part.layout);
    const auto lanes = pair_up(centers, due.lanes);
    const auto totals =
        with_parameter_range(due.lanes, [&]<ParameterRange kRange>(RangeConstant<kRange>) {
          return sum_rows<2, scalar_t>(
              part.layout, lanes, outputs_,
              [&](const auto& run, const auto& visit) MPELU_ALWAYS_INLINE {
                relay_span(
                    run, run.of(output_ + due.part.offset), run.of(input_ + due.part.offset),
                    run.of(input_ + part.offset), visit,
                    [](const V& x, int64_t valid, const auto& channel, auto& sums)
                        MPELU_ALWAYS_INLINE { add_about(channel.first, x, valid, sums); },
                    [](const V& x, const auto& channel, auto& /*sums*/) MPELU_ALWAYS_INLINE {
                      return math::forward<kRange, Precision::kRounded>(x, channel.second);
                    });
              });
        });
    return settle(part, centers, totals);
  }

 private:
  /// Mean and variance from sums about a number near the mean: about 0, the variance of elements
  /// that lie far from it would be lost to rounding. Centers that are not near make for another
  /// round, about the means that the first one found.
  Due settle(const Parts::Unit& part, const std::vector<CenterLane<T>>& centers,
             const ChannelTotals<2>& totals) const {
    if (!take_statistics(part, centers, totals)) {
      auto means = centers;
      for (size_t i = 0; i < means.size(); ++i) {
        means[i].center = static_cast<T>(parameters_.mean[part.channel + i]);
      }
      take_statistics(part, means, sums_about(means, input_ + part.offset, part.layout));
    }
    return {part, make_lanes<T>(parameters_, part.channel, part.layout.channels)};
  }

  /// Whether all centers were near enough.
  bool take_statistics(const Parts::Unit& part, const std::vector<CenterLane<T>>& centers,
                       const ChannelTotals<2>& totals) const {
    bool are_near = true;
    for (size_t i = 0; i < centers.size(); ++i) {
      const auto c = part.channel + static_cast<int64_t>(i);
      const auto center = static_cast<double>(centers[i].center);
      const auto moments = math::moments_about(center, count_, totals[i][0], totals[i][1]);
      const double offset = totals[i][0] / count_;
      const double variance = moments.squares / count_;
      parameters_.mean[c] = moments.mean;
      parameters_.invstd[c] = 1 / std::sqrt(variance + eps_);
      variance_[c] = variance;
      are_near = are_near && !(offset * offset > kNear * kNear * variance);
    }
    return are_near;
  }

  scalar_t* output_;
  const scalar_t* input_;
  const BatchNormParameters& parameters_;
  double* variance_;
  double eps_;
  double count_;
  Outputs outputs_;
};

template <typename scalar_t>
void forward(scalar_t* output, const scalar_t* input, const BatchNormParameters& parameters,
             double* variance, double eps, const Layout& layout) {
  if (variance == nullptr) {
    const auto lanes = make_folded_lanes<at::opmath_type<scalar_t>>(parameters, layout.channels);
    map_forward<Precision::kRounded>(output, input, lanes, layout);
    return;
  }
  in_two_passes<scalar_t>(Parts(layout, sizeof(scalar_t)), [&] {
    return ForwardPasses<scalar_t>(output, input, parameters, variance, eps, layout);
  });
}

/// The gradient with respect to the normalised input of one vector, scaled. Adds the vector to the
/// sums.
template <ParameterRange kRange, Scaling kScaling, typename V>
MPELU_ALWAYS_INLINE inline V add_to_sums(const V& grad_output, const V& x, int64_t valid,
                                         const math::BatchNorm<V>& channel, SumArray<V, 4>& sums) {
  math::BatchNormSums<V> added{{sums[0], sums[1]}, sums[2], sums[3]};
  const V grad = math::backward<kRange>(grad_output, x, channel, added);
  sums = {or_else(added.activation.alpha, valid, sums[0]),
          or_else(added.activation.beta, valid, sums[1]), or_else(added.grad, valid, sums[2]),
          or_else(added.grad_x, valid, sums[3])};
  return scaled<kScaling>(grad, channel.centered.scale);
}

/// The first pass: gradient, which has only the layout's elements, becomes that with respect to the
/// normalised input or, all scaled, to the input if the statistics did not depend on it.
template <Scaling kScaling, typename scalar_t, typename T = at::opmath_type<scalar_t>>
ChannelTotals<4> sums_of_backward(scalar_t* gradient, const scalar_t* grad_output,
                                  const scalar_t* input, const std::vector<BatchNormLane<T>>& lanes,
                                  Outputs outputs, const Layout& layout) {
  using V = at::vec::Vectorized<T>;
  return with_parameter_range(lanes, [&]<ParameterRange kRange>(RangeConstant<kRange>) {
    return sum_runs<4, scalar_t>(
        layout, lanes, outputs, [&](const auto& run, const auto& visit) MPELU_ALWAYS_INLINE {
          map_span(run, run.without_skipped(layout).of(gradient), run.of(grad_output),
                   run.of(input), visit,
                   [](const V& g, const V& x, int64_t valid, const auto& channel, auto& sums)
                       MPELU_ALWAYS_INLINE {
                         return add_to_sums<kRange, kScaling>(g, x, valid, channel, sums);
                       });
        });
  });
}

/// The gradients of the parameters of the channels from the first on, from the sums of their
/// elements.
void write_gradients(const BatchNormGradients& gradients, const ChannelTotals<4>& totals,
                     const BatchNormParameters& parameters, int64_t first) {
  for (size_t i = 0; i < totals.size(); ++i) {
    const auto c = first + static_cast<int64_t>(i);
    const auto& [alpha, beta, grad, grad_x] = totals[i];
    const auto activation =
        math::parameter_gradients(math::Sums<double>{alpha, beta}, parameters.alpha[c]);
    gradients.weight[c] = grad_x * parameters.invstd[c];
    gradients.bias[c] = grad;
    gradients.alpha[c] = activation.alpha;
    gradients.beta[c] = activation.beta;
  }
}

/// What the gradients of those elements themselves need of the sums.
template <typename scalar_t, typename T = at::opmath_type<scalar_t>>
std::vector<InputGradientLane<T>> make_input_gradient_lanes(
    const ChannelTotals<4>& totals, const std::vector<BatchNormLane<T>>& lanes,
    const BatchNormParameters& parameters, int64_t first, double count) {
  return lanes_of_channels(static_cast<int64_t>(lanes.size()), [&](int64_t c) {
    const double grad = totals[c][2];
    const double grad_x = totals[c][3];
    const double invstd = parameters.invstd[first + c];
    const double scale = invstd * parameters.weight[first + c];
    return InputGradientLane<T>{lanes[c].mean, scale_of_second<scalar_t>(lanes[c].centered.scale),
                                static_cast<T>(-scale * grad / count),
                                static_cast<T>(-scale * grad_x * invstd * invstd / count)};
  });
}

/// The backward where the statistics depend on the input.
template <typename scalar_t>
class BackwardPasses {
  using T = at::opmath_type<scalar_t>;
  using V = at::vec::Vectorized<T>;
  using Due = SecondPass<InputGradientLane<T>>;

 public:
  BackwardPasses(scalar_t* grad_input, const BatchNormGradients& gradients,
                 const scalar_t* grad_output, const scalar_t* input,
                 const BatchNormParameters& parameters, const Parts& parts)
      : grad_input_(grad_input),
        gradients_(gradients),
        grad_output_(grad_output),
        input_(input),
        parameters_(parameters),
        count_(static_cast<double>(parts.layout.outer * parts.layout.inner)),
        outputs_(outputs_for(grad_input, input, parts.layout)),
        is_whole_(parts.count == 1) {
    if (!is_whole_) {
      const auto bytes = static_cast<size_t>(parts.elements_per_unit()) * sizeof(scalar_t);
      scratch_ = c10::GetCPUAllocator()->allocate(bytes);
    }
    gradient_ = is_whole_ ? grad_input : static_cast<scalar_t*>(scratch_.get());
  }

  Due first(const Parts::Unit& part) {
    const auto lanes = lanes_of(part);
    const auto totals = sums_of_backward<kFirstScaling<scalar_t>>(
        gradient_, grad_output_ + part.offset, input_ + part.offset, lanes,
        is_whole_ ? outputs_ : Outputs::kInCache, part.layout);
    return finish(part, totals, lanes);
  }

  void second(const Due& due) {
    const auto& layout = due.part.layout;
    // Of the whole tensor, it reads from the memory what the first pass has written there.
    for_each_run<scalar_t>(
        layout, due.lanes, is_whole_ ? Outputs::kInMemory : outputs_,
        [&](const auto& run, const auto& visit) MPELU_ALWAYS_INLINE {
          map_span</*kPrefetchGradOutput=*/false>(
              run, run.of(grad_input_ + due.part.offset),
              run.without_skipped(layout).template of<const scalar_t>(gradient_),
              run.of(input_ + due.part.offset), visit,
              [](const V& grad, const V& x, int64_t /*valid*/, const auto& channel)
                  MPELU_ALWAYS_INLINE { return math::input_gradient(grad, x, channel); });
        });
  }

  Due both(const Due& due, const Parts::Unit& part) {
    const auto lanes = lanes_of(part);
    const auto pairs = pair_up(lanes, due.lanes);
    const auto totals = with_parameter_range(lanes, [&]<ParameterRange kRange>(
                                                        RangeConstant<kRange>) {
      return sum_rows<4, scalar_t>(
          part.layout, pairs, outputs_,
          [&](const auto& run, const auto& visit) MPELU_ALWAYS_INLINE {
            relay_span(
                run, run.of(grad_input_ + due.part.offset), run.of(input_ + due.part.offset),
                run.without_skipped(part.layout).of(gradient_), run.of(grad_output_ + part.offset),
                run.of(input_ + part.offset), visit,
                [](const V& g, const V& x, int64_t valid, const auto& channel, auto& sums)
                    MPELU_ALWAYS_INLINE {
                      return add_to_sums<kRange, kFirstScaling<scalar_t>>(g, x, valid,
                                                                          channel.first, sums);
                    },
                [](const V& grad, const V& x, const auto& channel, auto& /*sums*/)
                    MPELU_ALWAYS_INLINE { return math::input_gradient(grad, x, channel.second); });
          });
    });
    return finish(part, totals, lanes);
  }

 private:
  Due finish(const Parts::Unit& part, const ChannelTotals<4>& totals,
             const std::vector<BatchNormLane<T>>& lanes) const {
    write_gradients(gradients_, totals, parameters_, part.channel);
    return {part,
            make_input_gradient_lanes<scalar_t>(totals, lanes, parameters_, part.channel, count_)};
  }

  std::vector<BatchNormLane<T>> lanes_of(const Parts::Unit& part) const {
    return make_lanes<T>(parameters_, part.channel, part.layout.channels);
  }

  scalar_t* grad_input_;
  const BatchNormGradients& gradients_;
  const scalar_t* grad_output_;
  const scalar_t* input_;
  const BatchNormParameters& parameters_;
  double count_;
  Outputs outputs_;
  bool is_whole_;
  /// What the first pass leaves to the second.
  scalar_t* gradient_;
  /// Aligned as a tensor is: what crosses a line of memory takes two accesses.
  at::DataPtr scratch_;
};

template <typename scalar_t>
void backward(scalar_t* grad_input, const BatchNormGradients& gradients,
              const scalar_t* grad_output, const scalar_t* input,
              const BatchNormParameters& parameters, bool training, const Layout& layout) {
  if (!training) {
    const auto lanes = make_lanes<at::opmath_type<scalar_t>>(parameters, 0, layout.channels);
    const auto totals = sums_of_backward<Scaling::kAll>(
        grad_input, grad_output, input, lanes, outputs_for(grad_input, input, layout), layout);
    write_gradients(gradients, totals, parameters, 0);
    return;
  }
  const Parts parts(layout, sizeof(scalar_t));
  in_two_passes<scalar_t>(parts, [&] {
    return BackwardPasses<scalar_t>(grad_input, gradients, grad_output, input, parameters, parts);
  });
}

void forward_kernel(const at::TensorBase& output, const at::TensorBase& input,
                    const BatchNormParameters& parameters, double* variance, double eps,
                    const Layout& layout) {
  AT_DISPATCH_FLOATING_TYPES_AND2(
      at::kBFloat16, at::kHalf, input.scalar_type(), "batch_norm_mpelu_cpu", [&] {
        forward(output.data_ptr<scalar_t>(), input.const_data_ptr<scalar_t>(), parameters, variance,
                eps, layout);
      });
}

void backward_kernel(const at::TensorBase& grad_input, const BatchNormGradients& gradients,
                     const at::TensorBase& grad_output, const at::TensorBase& input,
                     const BatchNormParameters& parameters, bool training, const Layout& layout) {
  AT_DISPATCH_FLOATING_TYPES_AND2(
      at::kBFloat16, at::kHalf, input.scalar_type(), "batch_norm_mpelu_backward_cpu", [&] {
        backward(grad_input.data_ptr<scalar_t>(), gradients, grad_output.const_data_ptr<scalar_t>(),
                 input.const_data_ptr<scalar_t>(), parameters, training, layout);
      });
}

const Build forward_build(batch_norm_mpelu_stub, forward_kernel);
const Build backward_build(batch_norm_mpelu_backward_stub, backward_kernel);

}  // namespace
}  // namespace mpelu::cpu
