#pragma once

#include <cstdint>

#include "math/mpelu.h"
#include "ops/cuda/arguments.h"
#include "ops/cuda/element.cuh"
#include "ops/cuda/geometry.h"

namespace mpelu::cuda {

/// grad_input from grad_output and ELU's input, or its output where is_result; lengths are in
/// accesses.
template <typename scalar_t, int N>
__global__ void __launch_bounds__(kForwardThreads)
    elu_backward_kernel(const Pack<scalar_t, N>* __restrict__ grad_output,
                        const Pack<scalar_t, N>* __restrict__ input_or_output,
                        Pack<scalar_t, N>* __restrict__ grad_input, int64_t length,
                        Arithmetic<scalar_t> alpha, bool is_result) {
  using V = Arithmetic<scalar_t>;
  constexpr int kUnroll = unroll(N);
  const int64_t first = int64_t{blockIdx.x} * (kForwardThreads * kUnroll) + threadIdx.x;

  Pack<scalar_t, N> grads[kUnroll];
  Pack<scalar_t, N> inputs[kUnroll];
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
    const int64_t access = first + u * kForwardThreads;
    grads[u] = load(grad_output + access, access < length, narrow<scalar_t>(0.0f));
    inputs[u] = load(input_or_output + access, access < length, narrow<scalar_t>(0.0f));
  }
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const V g = widen(grads[u].values[i]);
      const V x = widen(inputs[u].values[i]);
      math::Sums<V> unused{};
      const V grad = is_result ? math::elu_backward_from_output(g, x, alpha)
                               : math::backward<math::BetaRange::kNotNegative>(
                                     g, x, math::Channel<V>{alpha, {V(1)}}, unused);
      grads[u].values[i] = narrow<scalar_t>(grad);
    }
    const int64_t access = first + u * kForwardThreads;
    if (access < length) {
      grad_input[access] = grads[u];
    }
  }
}

template <typename scalar_t, int N, typename Launch>
void launch_elu_backward_packs(const EluBackwardArguments& arguments, Launch& launch) {
  const int64_t length = arguments.numel / N;
  launch(elu_backward_kernel<scalar_t, N>, ceil_divide(length, kForwardThreads * unroll(N)),
         kForwardThreads, static_cast<const Pack<scalar_t, N>*>(arguments.grad_output),
         static_cast<const Pack<scalar_t, N>*>(arguments.input_or_output),
         static_cast<Pack<scalar_t, N>*>(arguments.grad_input), length,
         static_cast<Arithmetic<scalar_t>>(arguments.alpha), arguments.is_result);
}

template <typename scalar_t, typename Launch>
void launch_elu_backward(const EluBackwardArguments& arguments, Launch& launch) {
  constexpr int kWidest = kAccessBytes / sizeof(scalar_t);
  if (arguments.numel % kWidest == 0 &&
      are_aligned(arguments.grad_output, arguments.input_or_output, arguments.grad_input)) {
    launch_elu_backward_packs<scalar_t, kWidest>(arguments, launch);
  } else {
    launch_elu_backward_packs<scalar_t, 1>(arguments, launch);
  }
}

}  // namespace mpelu::cuda
