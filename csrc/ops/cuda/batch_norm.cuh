#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "math/batch_norm.h"
#include "ops/cuda/arguments.h"
#include "ops/cuda/backward.cuh"
#include "ops/cuda/element.cuh"
#include "ops/cuda/elementwise.cuh"
#include "ops/cuda/forward.cuh"
#include "ops/cuda/geometry.h"
#include "ops/cuda/parameter.cuh"

// Batch norm and the activation in one. The forward is the activation's own kernel with other
// channels. The backward has a pass for the sums and one for the gradient of the input, which
// depends on them.
namespace mpelu::cuda {

/// Elements of an access of 16 bytes or less.
template <typename scalar_t>
constexpr int kFew = std::min<int64_t>(kWidest<scalar_t>, kBatchNormColumns);

/// A thread takes a channel.
template <typename stat_t>
__global__ void __launch_bounds__(kElementwiseThreads)
    statistics_kernel(const stat_t* __restrict__ from_mean, const stat_t* __restrict__ from_var,
                      Arithmetic<stat_t>* __restrict__ mean,
                      Arithmetic<stat_t>* __restrict__ invstd, int64_t channels,
                      Arithmetic<stat_t> eps) {
  const int64_t channel = int64_t{blockIdx.x} * kElementwiseThreads + threadIdx.x;
  if (channel < channels) {
    mean[channel] = widen(from_mean[channel]);
    invstd[channel] = 1 / std::sqrt(widen(from_var[channel]) + eps);
  }
}

template <typename stat_t, typename Launch>
void launch_statistics(const StatisticsArguments& arguments, Launch& launch) {
  using V = Arithmetic<stat_t>;
  launch(statistics_kernel<stat_t>, ceil_divide(arguments.channels, kElementwiseThreads),
         kElementwiseThreads, static_cast<const stat_t*>(arguments.from_mean),
         static_cast<const stat_t*>(arguments.from_var), static_cast<V*>(arguments.mean),
         static_cast<V*>(arguments.invstd), arguments.channels, static_cast<V>(arguments.eps));
}

/// The channels of a batch norm with its activation.
template <typename param_t, typename V>
class BatchNormView {
 public:
  using Channel = math::BatchNorm<V>;
  template <typename T>
  using Sums = math::BatchNormSums<T>;

  static constexpr bool kWritesGradInput = false;
  template <typename scalar_t>
  static constexpr auto kPrecision = math::Precision::kRounded;
  static constexpr int kForwardBlocks = 7;

  explicit BatchNormView(const BatchNormParameters& parameters)
      : mean_(static_cast<const V*>(parameters.mean)),
        invstd_(static_cast<const V*>(parameters.invstd)),
        weight_(parameters.weight),
        bias_(parameters.bias),
        activation_(parameters.alpha, parameters.beta) {}

  __device__ Channel operator[](uint32_t channel) const {
    return {mean_[channel], invstd_[channel] * weight_[channel], bias_[channel],
            activation_[channel]};
  }

 private:
  const V* mean_;
  const V* invstd_;
  ParameterView<param_t, V> weight_;
  ParameterView<param_t, V> bias_;
  ActivationView<param_t, V> activation_;
};

/// Where the sums of a batch norm's backward go: four times [splits, columns] in the workspace.
struct BatchNormSumOutput {
  double* alpha;
  double* beta;
  double* grad;
  double* grad_x;

  BatchNormSumOutput(double* workspace, int64_t sums)
      : alpha(workspace),
        beta(workspace + sums),
        grad(workspace + 2 * sums),
        grad_x(workspace + 3 * sums) {}

  template <typename V>
  __device__ void store(int64_t place, const math::BatchNormSums<double>& totals,
                        const math::BatchNorm<V>& channel) const {
    const auto sums = math::parameter_gradients(totals.activation, channel.activation.alpha);
    alpha[place] = sums.alpha;
    beta[place] = sums.beta;
    grad[place] = totals.grad;
    grad_x[place] = totals.grad_x;
  }
};

/// The channels of the second pass of the backward.
template <typename param_t, typename V>
class InputGradientView {
 public:
  struct Channel {
    math::BatchNorm<V> batch_norm;
    math::InputGradient<V> through_statistics;

    __device__ bool grows() const { return batch_norm.grows(); }
  };

  /// means has the means that math::InputGradient needs of each channel, [2, channels]; null where
  /// the statistics do not depend on the input.
  InputGradientView(const BatchNormParameters& parameters, const void* means, int64_t channels)
      : batch_norm_(parameters), means_(static_cast<const V*>(means)), channels_(channels) {}

  __device__ Channel operator[](uint32_t channel) const {
    const auto batch_norm = batch_norm_[channel];
    if (means_ == nullptr) {
      return {batch_norm, {}};
    }
    const V scale = batch_norm.scale;
    return {
        batch_norm,
        {batch_norm.mean, scale, -scale * means_[channel], -scale * means_[channels_ + channel]}};
  }

  /// Without statistics not even an infinite x takes part.
  template <math::ParameterRange kRange>
  __device__ V input_gradient(V grad_output, V x, const Channel& channel) const {
    math::BatchNormSums<V> unused{};
    const V grad = math::backward<kRange>(grad_output, x, channel.batch_norm, unused);
    return means_ == nullptr ? channel.batch_norm.scale * grad
                             : math::input_gradient(grad, x, channel.through_statistics);
  }

 private:
  BatchNormView<param_t, V> batch_norm_;
  const V* means_;
  int64_t channels_;
};

/// The gradient of the input.
template <typename scalar_t, typename View>
struct InputGradient {
  static constexpr int kInputs = 2;
  static constexpr int kBlocks = 5;

  Channels channels;
  View view;

  template <int N>
  __device__ void compute(int64_t index, Pack<scalar_t, N> (&packs)[2]) const {
    scalar_t(&grads)[N] = packs[0].values;
    for_each_neighbour<scalar_t, N>(
        index, channels, view, [&](int i, const auto& channel, auto range) {
          const auto x = widen(packs[1].values[i]);
          grads[i] = narrow<scalar_t>(
              view.template input_gradient<decltype(range)::value>(widen(grads[i]), x, channel));
        });
  }
};

template <typename scalar_t, typename param_t, typename Launch>
void launch_batch_norm_forward(const BatchNormForwardArguments& arguments, Launch& launch) {
  const BatchNormView<param_t, Arithmetic<scalar_t>> view(arguments.parameters);
  launch_forward<scalar_t, kFew<scalar_t>>(arguments.layout, arguments.input, arguments.output,
                                           view, launch);
}

template <typename scalar_t, typename param_t, typename Launch>
void launch_batch_norm_backward(const BatchNormBackwardArguments& arguments,
                                const BackwardPlan& plan, Launch& launch) {
  using V = Arithmetic<scalar_t>;
  const auto& [layout, grad_output, input, grad_input] = arguments.tensors;
  const auto& parameters = arguments.parameters;
  const BatchNormView<param_t, V> view(parameters);
  const BatchNormSumOutput output(arguments.workspace, plan.sums());
  if (plan.elements_per_access == 1) {
    launch_sums<scalar_t, 1, 1>(arguments.tensors, plan, view, output, launch);
  } else {
    launch_sums<scalar_t, kWidest<scalar_t>, kFew<scalar_t>>(arguments.tensors, plan, view, output,
                                                             launch);
  }

  const int64_t channels = layout.channels;
  using Sums = ParameterSums<param_t>;
  const Sums alpha(plan, output.alpha, parameters.alpha.count, arguments.grad_alpha);
  const Sums beta(plan, output.beta, parameters.beta.count, arguments.grad_beta);
  Sums grad(plan, output.grad, channels, arguments.grad_bias);
  Sums grad_x(plan, output.grad_x, channels, arguments.grad_weight);
  grad_x.factors = static_cast<const V*>(parameters.invstd);
  if (arguments.means != nullptr) {
    grad.means = static_cast<V*>(arguments.means);
    grad_x.means = grad.means + channels;
    grad.mean_factor = grad_x.mean_factor = 1.0 / static_cast<double>(layout.outer * layout.inner);
  }
  launch_finish(AllSums<param_t, 4>{{alpha, beta, grad, grad_x}}, plan, launch);

  using View = InputGradientView<param_t, V>;
  launch_elementwise<scalar_t, kFew<scalar_t>>(
      {{grad_output, input}, grad_input, layout.numel()},
      InputGradient<scalar_t, View>{Channels(layout), View(parameters, arguments.means, channels)},
      launch);
}

}  // namespace mpelu::cuda
