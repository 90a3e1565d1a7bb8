#include <ATen/Dispatch.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/cpu/kernels/map_forward.h"
#include "ops/cpu/kernels/stubs.h"

// The forward passes over the input twice, for its statistics and for the output. The backward has
// a pass for its sums and for the gradient of the input as if the statistics did not depend on it,
// and one for what comes through them. Where the layout lets them, both passes go over a few
// channels at a time, so that the second finds in the cache what the first has left there. Between
// the two the gradient is rounded to the input's dtype, as it is between a batch norm and its
// activation.
namespace mpelu::cpu {
namespace {

/// A number about which a channel's elements are summed up.
template <typename T>
struct CenterLane {
  using Scalar = T;
  using V = at::vec::Vectorized<T>;

  std::array<T, 1> fields() const { return {center}; }
  static V channel(const std::array<V, 1>& fields) { return fields[0]; }

  T center;
};

template <typename T>
struct BatchNormLane {
  using Scalar = T;
  using V = at::vec::Vectorized<T>;

  std::array<T, 6> fields() const {
    return {mean, scale, bias, activation.alpha, activation.beta, activation.lowest};
  }
  bool grows() const { return activation.grows(); }
  static math::BatchNorm<V> channel(const std::array<V, 6>& fields) {
    return {fields[0], fields[1], fields[2], {fields[3], {fields[4], fields[5]}}};
  }

  T mean;
  T scale;
  T bias;
  math::Lane<T> activation;
};

/// What the second pass of the backward needs of a channel.
template <typename T>
struct InputGradientLane {
  using Scalar = T;
  using V = at::vec::Vectorized<T>;

  std::array<T, 3> fields() const { return {mean, mean_grad, mean_grad_x}; }
  static math::InputGradient<V> channel(const std::array<V, 3>& fields) {
    return {fields[0], fields[1], fields[2]};
  }

  T mean;
  T mean_grad;
  T mean_grad_x;
};

/// The vector's valid elements, and `other`'s in the lanes after them.
template <typename V>
MPELU_ALWAYS_INLINE inline V or_else(const V& vector, int64_t valid, const V& other) {
  return valid < V::size() ? V::set(other, vector, std::max<int64_t>(valid, 0)) : vector;
}

/// A first guess of a channel's mean: that of so many elements far from each other.
constexpr int64_t kGuesses = 16;
/// The guess will do while the mean is no more than this many standard deviations away.
constexpr double kNear = 4;

template <typename scalar_t, typename T = at::opmath_type<scalar_t>>
std::vector<CenterLane<T>> guess_means(const scalar_t* input, const Layout& layout) {
  std::vector<CenterLane<T>> centers(layout.channels);
  const int64_t count = std::min(layout.outer, kGuesses);
  for (int64_t channel = 0; channel < layout.channels; ++channel) {
    double sum = 0;
    for (int64_t i = 0; i < count; ++i) {
      const int64_t row = layout.outer / count * i;
      const int64_t row_size = layout.channels * layout.inner + layout.skipped;
      sum += static_cast<double>(input[row * row_size + channel * layout.inner]);
    }
    centers[channel].center = static_cast<T>(sum / count);
  }
  return centers;
}

template <typename scalar_t, typename T = at::opmath_type<scalar_t>>
ChannelTotals<2> sums_about(const std::vector<CenterLane<T>>& centers, const scalar_t* input,
                            const Layout& layout) {
  using V = at::vec::Vectorized<T>;
  return sum_runs<2, scalar_t>(
      layout, centers, {Inputs::kAhead, Outputs::kInCache},
      [&](const auto& run, const auto& visit) MPELU_ALWAYS_INLINE {
        sum_span(run, run.of(input), visit,
                 [](const V& x, int64_t valid, const V& center, auto& sums) MPELU_ALWAYS_INLINE {
                   const V difference = or_else(x - center, valid, V(T(0)));
                   sums[0] = sums[0] + difference;
                   sums[1] = at::vec::fmadd(difference, difference, sums[1]);
                 });
      });
}

/// Mean and variance from sums about a number near the mean: about 0, the variance of elements that
/// lie far from it would be lost to rounding. A guess that is not near makes for a second round,
/// about the mean that the first one found.
template <typename scalar_t>
void statistics(double* mean, double* variance, const scalar_t* input, const Layout& layout) {
  using T = at::opmath_type<scalar_t>;
  auto centers = guess_means(input, layout);
  const auto count = static_cast<double>(layout.outer * layout.inner);
  bool are_near = false;
  for (int round = 0; round < 2 && !are_near; ++round) {
    const auto totals = sums_about(centers, input, layout);
    are_near = true;
    for (int64_t c = 0; c < layout.channels; ++c) {
      const double offset = totals[c][0] / count;
      mean[c] = static_cast<double>(centers[c].center) + offset;
      variance[c] = std::max(totals[c][1] / count - offset * offset, 0.0);
      are_near = are_near && !(offset * offset > kNear * kNear * variance[c]);
      centers[c].center = static_cast<T>(mean[c]);
    }
  }
}

/// The parameters of `channels` channels from the first on.
template <typename T>
std::vector<BatchNormLane<T>> make_lanes(const BatchNormParameters& parameters, int64_t first,
                                         int64_t channels) {
  std::vector<BatchNormLane<T>> lanes;
  lanes.reserve(channels);
  for (int64_t c = first; c < first + channels; ++c) {
    lanes.push_back({static_cast<T>(parameters.mean[c]),
                     static_cast<T>(parameters.invstd[c] * parameters.weight.at<double>(c)),
                     parameters.bias.at<T>(c),
                     math::Lane<T>(parameters.alpha.at<T>(c), parameters.beta.at<T>(c))});
  }
  return lanes;
}

template <typename scalar_t>
void forward(scalar_t* output, const scalar_t* input, const BatchNormParameters& parameters,
             double* variance, double eps, const Layout& layout) {
  using T = at::opmath_type<scalar_t>;
  const Outputs outputs = outputs_for(output, input, layout);
  if (variance == nullptr) {
    map_forward<Precision::kRounded>(output, input, make_lanes<T>(parameters, 0, layout.channels),
                                     {Inputs::kAhead, outputs}, layout);
    return;
  }
  for_each_part<scalar_t>(
      layout, /*with_scratch=*/false,
      [&](const Layout& part, int64_t first, scalar_t* /*scratch*/) {
        const int64_t offset = first * layout.inner;
        statistics(parameters.mean + first, variance + first, input + offset, part);
        for (int64_t c = first; c < first + part.channels; ++c) {
          parameters.invstd[c] = 1 / std::sqrt(variance[c] + eps);
        }
        const Inputs inputs = part.skipped > 0 ? Inputs::kOfNextPart : Inputs::kAhead;
        map_forward<Precision::kRounded>(output + offset, input + offset,
                                         make_lanes<T>(parameters, first, part.channels),
                                         {inputs, outputs}, part);
      });
}

/// The gradient of the input as if the statistics did not depend on it, and the sums of the
/// backward.
template <typename scalar_t, typename T = at::opmath_type<scalar_t>>
ChannelTotals<4> direct_gradient(scalar_t* gradient, const scalar_t* grad_output,
                                 const scalar_t* input, const std::vector<BatchNormLane<T>>& lanes,
                                 const Pass& pass, const Layout& layout) {
  using V = at::vec::Vectorized<T>;
  return with_parameter_range(lanes, [&]<ParameterRange kRange>(RangeConstant<kRange>) {
    return sum_runs<4, scalar_t>(
        layout, lanes, pass, [&](const auto& run, const auto& visit) MPELU_ALWAYS_INLINE {
          map_span(run, run.without_skipped(layout).of(gradient), run.of(grad_output),
                   run.of(input), visit,
                   [](const V& g, const V& x, int64_t valid, const auto& channel,
                      auto& sums) MPELU_ALWAYS_INLINE {
                     math::BatchNormSums<V> added{{sums[0], sums[1]}, sums[2], sums[3]};
                     const V grad = channel.scale * math::backward<kRange>(g, x, channel, added);
                     sums = {or_else(added.activation.alpha, valid, sums[0]),
                             or_else(added.activation.beta, valid, sums[1]),
                             or_else(added.grad, valid, sums[2]),
                             or_else(added.grad_x, valid, sums[3])};
                     return grad;
                   });
        });
  });
}

/// The gradient of the input from that one.
template <typename scalar_t, typename T = at::opmath_type<scalar_t>>
void input_gradient(scalar_t* grad_input, const scalar_t* gradient, const scalar_t* input,
                    const std::vector<InputGradientLane<T>>& lanes, const Pass& pass,
                    const Layout& layout) {
  using V = at::vec::Vectorized<T>;
  for_each_run<scalar_t>(
      layout, lanes, pass, [&](const auto& run, const auto& visit) MPELU_ALWAYS_INLINE {
        map_span</*kPrefetchGradOutput=*/false>(
            run, run.of(grad_input), run.without_skipped(layout).of(gradient), run.of(input), visit,
            [](const V& grad, const V& x, int64_t /*valid*/, const auto& channel)
                MPELU_ALWAYS_INLINE { return math::input_gradient(grad, x, channel); });
      });
}

/// The gradients of the parameters of some channels, from the sums of their elements, and what
/// those elements' own gradients need of the sums.
template <typename T>
std::vector<InputGradientLane<T>> finish(const BatchNormGradients& gradients,
                                         const ChannelTotals<4>& totals,
                                         const std::vector<BatchNormLane<T>>& lanes,
                                         const BatchNormParameters& parameters, int64_t first,
                                         double count) {
  std::vector<InputGradientLane<T>> input_gradient_lanes;
  input_gradient_lanes.reserve(lanes.size());
  for (size_t i = 0; i < lanes.size(); ++i) {
    const auto c = first + static_cast<int64_t>(i);
    const auto& [alpha, beta, grad, grad_x] = totals[i];
    const auto activation =
        math::parameter_gradients(math::Sums<double>{alpha, beta}, parameters.alpha.at<double>(c));
    const double invstd = parameters.invstd[c];
    gradients.weight[c] = grad_x * invstd;
    gradients.bias[c] = grad;
    gradients.alpha[c] = activation.alpha;
    gradients.beta[c] = activation.beta;
    const double scale = invstd * parameters.weight.at<double>(c);
    input_gradient_lanes.push_back({lanes[i].mean, static_cast<T>(scale * grad / count),
                                    static_cast<T>(scale * grad_x * invstd * invstd / count)});
  }
  return input_gradient_lanes;
}

template <typename scalar_t>
void backward(scalar_t* grad_input, const BatchNormGradients& gradients,
              const scalar_t* grad_output, const scalar_t* input,
              const BatchNormParameters& parameters, bool training, const Layout& layout) {
  using T = at::opmath_type<scalar_t>;
  const Outputs outputs = outputs_for(grad_input, input, layout);
  const auto count = static_cast<double>(layout.outer * layout.inner);
  if (!training) {
    const auto lanes = make_lanes<T>(parameters, 0, layout.channels);
    const auto totals =
        direct_gradient(grad_input, grad_output, input, lanes, {Inputs::kAhead, outputs}, layout);
    finish(gradients, totals, lanes, parameters, 0, count);
    return;
  }
  for_each_part<scalar_t>(
      layout, /*with_scratch=*/true, [&](const Layout& part, int64_t first, scalar_t* scratch) {
        const int64_t offset = first * layout.inner;
        // Without parts, the second pass reads from the memory what the first has written there.
        const bool is_part = scratch != nullptr;
        scalar_t* const gradient = is_part ? scratch : grad_input;
        const Pass first_pass{Inputs::kAhead, is_part ? Outputs::kInCache : outputs};
        const Pass second_pass{Inputs::kAhead, is_part ? outputs : Outputs::kInMemory};
        const auto lanes = make_lanes<T>(parameters, first, part.channels);
        const auto totals = direct_gradient(gradient, grad_output + offset, input + offset, lanes,
                                            first_pass, part);
        input_gradient(grad_input + offset, gradient, input + offset,
                       finish(gradients, totals, lanes, parameters, first, count), second_pass,
                       part);
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

}  // namespace
}  // namespace mpelu::cpu

namespace at::native {

ALSO_REGISTER_AVX512_DISPATCH(mpelu_batch_norm_stub, &mpelu::cpu::forward_kernel)
ALSO_REGISTER_AVX512_DISPATCH(mpelu_batch_norm_backward_stub, &mpelu::cpu::backward_kernel)

}  // namespace at::native
