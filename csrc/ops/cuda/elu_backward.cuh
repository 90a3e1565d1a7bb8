#pragma once

#include <cstdint>

#include "math/mpelu.h"
#include "ops/cuda/arguments.h"
#include "ops/cuda/element.cuh"
#include "ops/cuda/elementwise.cuh"
#include "ops/cuda/geometry.h"

namespace mpelu::cuda {

/// grad_input from grad_output and ELU's input, or its output where is_result.
template <typename scalar_t>
struct EluBackward {
  static constexpr int kInputs = 2;
  static constexpr int kBlocks = 8;
  using V = Arithmetic<scalar_t>;

  V alpha;
  bool is_result;

  template <int N>
  __device__ void compute(int64_t /*index*/, const V (&inputs)[N][2], V (&outputs)[N]) const {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const auto [g, x] = inputs[i];
      math::Sums<V> unused{};
      outputs[i] = is_result ? math::elu_backward_from_output(g, x, alpha)
                             : math::backward<math::ParameterRange::kDecaying>(
                                   g, x, math::Channel<V>{alpha, {V(1)}}, unused);
    }
  }
};

template <typename scalar_t, typename Launch>
void launch_elu_backward(const EluBackwardArguments& arguments, Launch& launch) {
  const EluBackward<scalar_t> op{static_cast<Arithmetic<scalar_t>>(arguments.alpha),
                                 arguments.is_result};
  launch_elementwise<scalar_t, kWidest<scalar_t>>(
      {{arguments.grad_output, arguments.input_or_output}, arguments.grad_input, arguments.numel},
      op, launch);
}

}  // namespace mpelu::cuda
