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

  /// Computes the gradients of element i of every access, which are of one channel: the input's are
  /// kept, what they give to the parameters' is returned.
  template <typename V>
  __device__ math::Sums<V> compute(int i, const math::Channel<V>& channel) {
    math::Sums<V> sums{};
    with_parameter_range(channel.grows(), [&](auto range) {
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        scalar_t& grad = grads_[u].values[i];
        grad = narrow<scalar_t>(math::backward<decltype(range)::value>(
            widen(grad), widen(inputs_[u].values[i]), channel, sums));
      }
    });
    return sums;
  }

  /// Of a batch norm, to whose sums every element gives: only those that exist. The gradients of
  /// the input need all of the sums first.
  template <typename V>
  __device__ math::BatchNormSums<V> compute(int i, const math::BatchNorm<V>& channel) {
    math::BatchNormSums<V> sums{};
    with_parameter_range(channel.grows(), [&](auto range) {
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        if (exists_[u]) {
          math::backward<decltype(range)::value>(widen(grads_[u].values[i]),
                                                 widen(inputs_[u].values[i]), channel, sums);
        }
      }
    });
    return sums;
  }

  __device__ void store(int u, Pack<scalar_t, N>* grad_input) const {
    if (exists_[u]) {
      grad_input[offsets_[u]] = grads_[u];
    }
  }

 private:
  Pack<scalar_t, N> grads_[kUnroll];
  Pack<scalar_t, N> inputs_[kUnroll];
  int64_t offsets_[kUnroll];
  bool exists_[kUnroll];
};

}  // namespace mpelu::cuda
