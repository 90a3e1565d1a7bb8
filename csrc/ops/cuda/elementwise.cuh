#pragma once

#include <algorithm>
#include <cstdint>

#include "ops/cuda/element.cuh"
#include "ops/cuda/geometry.h"

namespace mpelu::cuda {

/// Tensors of one memory order. The output may be one of the inputs.
template <int kInputs>
struct ElementwiseTensors {
  const void* inputs[kInputs];
  void* output;
  int64_t numel;

  bool are_aligned() const {
    return std::ranges::all_of(inputs,
                               [](const void* input) { return cuda::are_aligned(input); }) &&
           cuda::are_aligned(output);
  }
};

/// kUnroll accesses of N elements to a thread, which has all its loads in flight before it
/// computes.
template <typename scalar_t, int N, int kUnroll, typename Op>
__device__ void compute_packs(const ElementwiseTensors<Op::kInputs>& tensors, int64_t length,
                              const Op& op) {
  using Access = Pack<scalar_t, N>;
  const int64_t first = int64_t{blockIdx.x} * (kElementwiseThreads * kUnroll) + threadIdx.x;

  Access packs[kUnroll][Op::kInputs];
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
    const int64_t access = first + u * kElementwiseThreads;
#pragma unroll
    for (int k = 0; k < Op::kInputs; ++k) {
      packs[u][k] = load(static_cast<const Access*>(tensors.inputs[k]) + access, access < length,
                         Fill::kZero);
    }
  }
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
    const int64_t access = first + u * kElementwiseThreads;
    const Access result = computed(packs[u], [&](const auto& inputs, auto& outputs) {
      op.compute(access * N, inputs, outputs);
    });
    if (access < length) {
      static_cast<Access*>(tensors.output)[access] = result;
    }
  }
}

/// The elements from `begin` on, one to a thread.
template <typename scalar_t, typename Op>
__device__ void compute_rest(const ElementwiseTensors<Op::kInputs>& tensors, int64_t begin,
                             const Op& op) {
  const int64_t index = begin + threadIdx.x;
  if (index < tensors.numel) {
    Pack<scalar_t, 1> elements[Op::kInputs];
#pragma unroll
    for (int k = 0; k < Op::kInputs; ++k) {
      elements[k].values[0] = static_cast<const scalar_t*>(tensors.inputs[k])[index];
    }
    const auto result = computed(
        elements, [&](const auto& inputs, auto& outputs) { op.compute(index, inputs, outputs); });
    static_cast<scalar_t*>(tensors.output)[index] = result.values[0];
  }
}

/// output = f(inputs...), elementwise in memory order. An Op has the number of inputs, kInputs,
/// and that of blocks to a multiprocessor, kBlocks, which bounds a thread's registers; and, with V
/// the type of the arithmetic,
///
///   template <int N>  // outputs[i] = f(inputs[i]...), for elements index, ..., index + N - 1
///   void compute(int64_t index, const V (&inputs)[N][kInputs], V (&outputs)[N]) const;
///
/// It is also asked for elements that do not exist, of which it gets zeros. `length` is that of the
/// tensors in accesses: their last numel - length * N elements are computed apart.
template <typename scalar_t, typename Op, int N, int kUnroll>
__global__ void __launch_bounds__(kElementwiseThreads, Op::kBlocks)
    elementwise_kernel(ElementwiseTensors<Op::kInputs> tensors, int64_t length, Op op) {
  compute_packs<scalar_t, N, kUnroll>(tensors, length, op);
  if (N > 1 && blockIdx.x == 0) {
    compute_rest<scalar_t>(tensors, length * N, op);
  }
}

template <typename scalar_t, int N, typename Op, typename Launch>
void launch_elementwise_packs(const ElementwiseTensors<Op::kInputs>& tensors, const Op& op,
                              Launch& launch) {
  constexpr int kUnroll = unroll(N * Op::kInputs);
  constexpr int64_t kOfThreads = kElementwiseThreads * N;  // elements that take one access each
  static_assert(kUnroll * kOfThreads <= kMostElementsOfBlock);
  const auto start = [&](auto kernel, int64_t block) {
    launch(kernel, ceil_divide(tensors.numel, block), kElementwiseThreads, tensors,
           tensors.numel / N, op);
  };
  if (is_small(tensors.numel, kUnroll * kOfThreads)) {
    start(elementwise_kernel<scalar_t, Op, N, 1>, kOfThreads);
  } else {
    start(elementwise_kernel<scalar_t, Op, N, kUnroll>, kUnroll * kOfThreads);
  }
}

/// With accesses of kMost elements where the tensors lie so that they can be made.
template <typename scalar_t, int kMost, typename Op, typename Launch>
void launch_elementwise(const ElementwiseTensors<Op::kInputs>& tensors, const Op& op,
                        Launch& launch) {
  if (tensors.are_aligned()) {
    launch_elementwise_packs<scalar_t, kMost>(tensors, op, launch);
  } else {
    launch_elementwise_packs<scalar_t, 1>(tensors, op, launch);
  }
}

}  // namespace mpelu::cuda
