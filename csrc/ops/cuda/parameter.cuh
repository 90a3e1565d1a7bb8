#pragma once

#include <cstdint>

#include "ops/cuda/arguments.h"
#include "ops/cuda/element.cuh"

namespace mpelu::cuda {

/// alpha or beta in the kernels, read in the type V of the arithmetic.
template <typename param_t, typename V>
class ParameterView {
 public:
  explicit ParameterView(const Parameter& parameter)
      : data_(static_cast<const param_t*>(parameter.data)),
        value_(static_cast<V>(parameter.value)),
        shared_(parameter.count == 1) {}

  /// Reads what all channels share, once; before the first channel is asked for.
  __device__ void read_shared() {
    if (shared_ && data_ != nullptr) {
      value_ = static_cast<V>(widen(*data_));
      data_ = nullptr;
    }
  }

  __device__ V operator[](int channel) const {
    return data_ == nullptr ? value_ : static_cast<V>(widen(data_[channel]));
  }

 private:
  const param_t* data_;
  V value_;
  bool shared_;
};

}  // namespace mpelu::cuda
