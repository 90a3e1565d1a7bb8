#pragma once

#include <cstdint>

#include "math/batch_norm.h"
#include "ops/cuda/element.cuh"
#include "ops/cuda/geometry.h"
#include "ops/cuda/parameter.cuh"
#include "ops/cuda/reduce.cuh"

namespace mpelu::cuda {

/// What a thread has in flight in one round of its loop: the same accesses to both tensors.
template <typename scalar_t, int N>
class BackwardRound {
 public:
  static constexpr int kUnroll = unroll(N);

  /// Starts access u, at `offset`. One that does not exist has an input above zero, which gives
  /// nothing to alpha and beta, whatever they are.
  __device__ void load(int u, const Pack<scalar_t, N>* grad_output, const Pack<scalar_t, N>* input,
                       int64_t offset, bool exists) {
    offsets_[u] = offset;
    exists_[u] = exists;
    inputs_[u] = cuda::load(input + offset, exists, Fill::kPositive);
    grads_[u] = cuda::load(grad_output + offset, exists, Fill::kZero);
  }

  /// Computes the gradients of all elements, which are of one channel: the input's are kept for
  /// store(), if it is called, and what they give to the parameters' is added to sums.
  template <typename Channel, typename Sums>
  __device__ void compute(const Channel& channel, Sums& sums) {
    with_parameter_range(channel.grows(), [&](auto range) {
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        const Pack<scalar_t, N> packs[] = {grads_[u], inputs_[u]};
        grads_[u] = computed(packs, [&](const auto& numbers, auto& gradients) {
#pragma unroll
          for (int i = 0; i < N; ++i) {
            const auto [grad, x] = numbers[i];
            gradients[i] = gradient<decltype(range)::value>(u, grad, x, channel, sums);
          }
        });
      }
    });
  }

  /// The same for element i of every access, where others are of other channels.
  template <typename Channel, typename Sums>
  __device__ void compute(int i, const Channel& channel, Sums& sums) {
    with_parameter_range(channel.grows(), [&](auto range) {
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        scalar_t& grad = grads_[u].values[i];
        grad = narrow<scalar_t>(gradient<decltype(range)::value>(
            u, widen(grad), widen(inputs_[u].values[i]), channel, sums));
      }
    });
  }

  __device__ void store(int u, Pack<scalar_t, N>* grad_input) const {
    if (exists_[u]) {
      grad_input[offsets_[u]] = grads_[u];
    }
  }

 private:
  template <math::ParameterRange kRange, typename V>
  static __device__ V gradient(int /*u*/, V grad_output, V x, const math::Channel<V>& channel,
                               math::Sums<V>& sums) {
    return math::backward<kRange>(grad_output, x, channel, sums);
  }

  /// Of a batch norm, to whose sums every element gives: only those that exist. The gradients of
  /// the input need all of the sums first.
  template <math::ParameterRange kRange, typename V>
  __device__ V gradient(int u, V grad_output, V x, const math::BatchNorm<V>& channel,
                        math::BatchNormSums<V>& sums) const {
    return exists_[u] ? math::backward<kRange>(grad_output, x, channel, sums) : grad_output;
  }

  Pack<scalar_t, N> grads_[kUnroll];
  Pack<scalar_t, N> inputs_[kUnroll];
  int64_t offsets_[kUnroll];
  bool exists_[kUnroll];
};

}  // namespace mpelu::cuda
