#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "math/batch_norm.h"
#include "ops/cuda/arguments.h"
#include "ops/cuda/backward.cuh"
#include "ops/cuda/channelwise.cuh"
#include "ops/cuda/element.cuh"
#include "ops/cuda/forward.cuh"
#include "ops/cuda/geometry.h"
#include "ops/cuda/parameter.cuh"

// Batch norm and the activation in one. The forward is the activation's own kernel with other
// channels. The backward has a pass for the sums and one for the gradient of the input, which
// depends on them.
namespace mpelu::cuda {

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
  static constexpr int kForwardBlocksByColumns = 3;

  explicit BatchNormView(const BatchNormParameters& parameters)
      : mean_(static_cast<const V*>(parameters.mean)),
        invstd_(static_cast<const V*>(parameters.invstd)),
        weight_(parameters.weight),
        bias_(parameters.bias),
        activation_(parameters.alpha, parameters.beta) {}

  __device__ Channel operator[](uint32_t channel) const {
    return {mean_[channel],
            {invstd_[channel] * weight_[channel], bias_[channel], activation_[channel]}};
  }

 private:
  const V* mean_;
  const V* invstd_;
  ParameterView<param_t, V> weight_;
  ParameterView<param_t, V> bias_;
  ActivationView<param_t, V> activation_;
};

/// Where the sums of a batch norm's backward go: to the gradients and to the means that
/// math::InputGradient needs, [2, channels], where there is one sum per channel; else to the
/// workspace, four times [splits, columns]. Null are gradients that are not wanted, and means where
/// the statistics do not depend on the input.
template <typename param_t, typename V>
struct BatchNormSumOutput {
  double* workspace;
  int64_t sums;
  param_t* grad_weight;
  param_t* grad_bias;
  param_t* grad_alpha;
  param_t* grad_beta;
  V* means;
  const V* invstd;
  int64_t channels;
  double mean_factor;

  double* alpha_sums() const { return workspace; }
  double* beta_sums() const { return workspace + sums; }
  double* grad_sums() const { return workspace + 2 * sums; }
  double* grad_x_sums() const { return workspace + 3 * sums; }

  __device__ void store(int64_t place, const math::BatchNormSums<double>& totals,
                        const math::BatchNorm<V>& channel) const {
    const auto activation =
        math::parameter_gradients(totals.activation, channel.centered.activation.alpha);
    if (workspace != nullptr) {
      const double values[] = {activation.alpha, activation.beta, totals.grad, totals.grad_x};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        workspace[i * sums + place] = values[i];
      }
      return;
    }
    const double factor = invstd[place];
    write(grad_alpha, place, activation.alpha);
    write(grad_beta, place, activation.beta);
    write(grad_bias, place, totals.grad);
    write(grad_weight, place, totals.grad_x * factor);
    write(means, place, totals.grad * mean_factor);
    write(means, channels + place, totals.grad_x * factor * factor * mean_factor);
  }

 private:
  template <typename T>
  static __device__ void write(T* to, int64_t place, double value) {
    if (to != nullptr) {
      to[place] = narrow<T>(value);
    }
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
    const V scale = batch_norm.centered.scale;
    return {
        batch_norm,
        {batch_norm.mean, scale, -scale * means_[channel], -scale * means_[channels_ + channel]}};
  }

  /// Without statistics not even an infinite x takes part.
  template <math::ParameterRange kRange>
  __device__ V input_gradient(V grad_output, V x, const Channel& channel) const {
    math::BatchNormSums<V> unused{};
    const V grad = math::backward<kRange>(grad_output, x, channel.batch_norm, unused);
    return means_ == nullptr ? channel.batch_norm.centered.scale * grad
                             : math::input_gradient(grad, x, channel.through_statistics);
  }

 private:
  BatchNormView<param_t, V> batch_norm_;
  const V* means_;
  int64_t channels_;
};

/// The gradient of the input.
template <typename View>
struct InputGradient {
  static constexpr int kInputs = 2;
  static constexpr int kBlocks = 5;
  static constexpr int kBlocksByColumns = 2;
  using Channel = typename View::Channel;

  View view;

  __device__ Channel channel(uint32_t index) const { return view[index]; }

  template <math::ParameterRange kRange, typename V>
  __device__ V compute(const V (&inputs)[2], const Channel& channel) const {
    return view.template input_gradient<kRange>(inputs[0], inputs[1], channel);
  }
};

template <typename scalar_t, typename param_t, typename Launch>
void launch_batch_norm_forward(const BatchNormForwardArguments& arguments, Launch& launch) {
  const BatchNormView<param_t, Arithmetic<scalar_t>> view(arguments.parameters);
  launch_forward<scalar_t, kFew<scalar_t>>(arguments.layout, arguments.input, arguments.output,
                                           view, launch);
}

/// The gradients of the parameters, and the means, from the sums in the workspace.
template <typename param_t, typename V, typename Launch>
void launch_batch_norm_finish(const BatchNormSumOutput<param_t, V>& output,
                              const BatchNormParameters& parameters, const Plan& plan,
                              Launch& launch) {
  using Sums = ParameterSums<param_t>;
  const int64_t channels = output.channels;
  const Sums alpha(plan, output.alpha_sums(), parameters.alpha.count, output.grad_alpha);
  const Sums beta(plan, output.beta_sums(), parameters.beta.count, output.grad_beta);
  Sums grad(plan, output.grad_sums(), channels, output.grad_bias);
  Sums grad_x(plan, output.grad_x_sums(), channels, output.grad_weight);
  grad_x.factors = output.invstd;
  if (output.means != nullptr) {
    grad.means = output.means;
    grad_x.means = output.means + channels;
    grad.mean_factor = grad_x.mean_factor = output.mean_factor;
  }
  launch_finish(AllSums<param_t, 4>{{alpha, beta, grad, grad_x}}, plan, launch);
}

template <typename scalar_t, typename param_t, typename Launch>
void launch_batch_norm_backward(const BatchNormBackwardArguments& arguments, const Plan& plan,
                                Launch& launch) {
  using V = Arithmetic<scalar_t>;
  const auto& [layout, grad_output, input, grad_input] = arguments.tensors;
  const auto& parameters = arguments.parameters;
  const BatchNormView<param_t, V> view(parameters);
  const BatchNormSumOutput<param_t, V> output{
      .workspace = arguments.workspace,
      .sums = plan.sums(),
      .grad_weight = static_cast<param_t*>(arguments.grad_weight),
      .grad_bias = static_cast<param_t*>(arguments.grad_bias),
      .grad_alpha = static_cast<param_t*>(arguments.grad_alpha),
      .grad_beta = static_cast<param_t*>(arguments.grad_beta),
      .means = static_cast<V*>(arguments.means),
      .invstd = static_cast<const V*>(parameters.invstd),
      .channels = layout.channels,
      .mean_factor = 1.0 / static_cast<double>(layout.outer * layout.inner),
  };
  if (plan.elements_per_access == 1) {
    launch_sums<scalar_t, 1, 1>(arguments.tensors, plan, view, output, launch);
  } else {
    launch_sums<scalar_t, kWidest<scalar_t>, kFew<scalar_t>>(arguments.tensors, plan, view, output,
                                                             launch);
  }
  if (output.workspace != nullptr) {
    launch_batch_norm_finish(output, parameters, plan, launch);
  }

  using View = InputGradientView<param_t, V>;
  const View gradient_view(parameters, arguments.means, layout.channels);
  launch_channelwise<scalar_t, kFew<scalar_t>>({{grad_output, input}, grad_input, layout.numel()},
                                               layout, InputGradient<View>{gradient_view}, launch);
}

}  // namespace mpelu::cuda
