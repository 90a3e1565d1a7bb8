#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>

#include "ops/checks.h"
#include "ops/layout.h"

// How the hosts of the CPU and CUDA kernels see a tensor of any rank and strides.
namespace mpelu {

/// tensor itself where its elements fill their memory without gaps or overlaps, else a copy that
/// does, with the strides that torch's own elementwise operators would give.
inline at::Tensor dense(const at::Tensor& tensor) {
  return tensor.is_non_overlapping_and_dense() ? tensor : at::empty_like(tensor).copy_(tensor);
}

/// Calls write(x) for a dense x that has input's elements; input then has what was written there.
template <typename Write>
at::Tensor& write_dense(at::Tensor& input, const Write& write) {
  const auto x = dense(input);
  write(x);
  return x.is_same(input) ? input : input.copy_(x);
}

/// tensor with its elements in the order in which they lie in reference, which is dense.
inline at::Tensor dense_as(const at::Tensor& tensor, const at::Tensor& reference) {
  return tensor.strides() == reference.strides() ? tensor : at::empty_like(reference).copy_(tensor);
}

/// The layout of a dense tensor for parameters that all its elements share.
inline Layout shared_layout(const at::Tensor& tensor) { return {1, 1, tensor.numel()}; }

/// The layout of a dense, non-empty tensor for parameters along dim.
inline Layout channel_layout(const at::Tensor& tensor, int64_t dim) {
  if (tensor.dim() == 0 || tensor.size(dim) == 1) {
    return shared_layout(tensor);
  }
  const int64_t channels = tensor.size(dim);
  const int64_t inner = tensor.stride(dim);
  return {tensor.numel() / (channels * inner), channels, inner};
}

/// The same for parameters of which the largest has `count` elements.
inline Layout parameter_layout(const at::Tensor& tensor, int64_t count, int64_t dim) {
  return count == 1 ? shared_layout(tensor) : channel_layout(tensor, dim);
}

}  // namespace mpelu
