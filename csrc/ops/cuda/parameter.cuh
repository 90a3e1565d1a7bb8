#pragma once

#include <cstdint>

#include "math/mpelu.h"
#include "ops/cuda/arguments.h"
#include "ops/cuda/element.cuh"

namespace mpelu::cuda {

/// A parameter in the kernels, read in the type V of the arithmetic.
template <typename param_t, typename V>
class ParameterView {
 public:
  explicit ParameterView(const Parameter& parameter)
      : data_(static_cast<const param_t*>(parameter.data)),
        value_(static_cast<V>(parameter.value)),
        mask_(parameter.count == 1 ? 0 : ~uint32_t{0}) {}

  __device__ V operator[](uint32_t channel) const {
    return data_ == nullptr ? value_ : static_cast<V>(widen(data_[channel & mask_]));
  }

 private:
  const param_t* data_;
  V value_;
  uint32_t mask_;  // of the channel: 0 where all share one element
};

/// Calls body with the range of parameters of which none or some grow, as a constant: what body
/// does with several elements branches once. kSome is the range where some do: of one channel,
/// growing.
template <math::ParameterRange kSome = math::ParameterRange::kGrowing, typename Body>
__device__ void with_parameter_range(bool some_grow, const Body& body) {
  using math::ParameterRange;
  if (some_grow) {
    body(math::RangeConstant<kSome>());
  } else {
    body(math::RangeConstant<ParameterRange::kDecaying>());
  }
}

/// The channels of an activation.
template <typename param_t, typename V>
class ActivationView {
 public:
  using Channel = math::Channel<V>;
  template <typename T>
  using Sums = math::Sums<T>;

  /// An element's gradient does not depend on the others.
  static constexpr bool kWritesGradInput = true;

  template <typename scalar_t>
  static constexpr auto kPrecision = math::kPrecisionOf<scalar_t, V>;

  /// Blocks of the forward's kernels to a multiprocessor.
  static constexpr int kForwardBlocks = 8;
  static constexpr int kForwardBlocksByColumns = 3;

  ActivationView(const Parameter& alpha, const Parameter& beta) : alpha_(alpha), beta_(beta) {}

  __device__ Channel operator[](uint32_t channel) const {
    return {alpha_[channel], {beta_[channel]}};
  }

 private:
  ParameterView<param_t, V> alpha_;
  ParameterView<param_t, V> beta_;
};

}  // namespace mpelu::cuda
