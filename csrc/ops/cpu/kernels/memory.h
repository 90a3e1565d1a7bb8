#pragma once

#include <cstdint>

#include "ops/cpu/kernels/span.h"
#include "ops/layout.h"

// What a pass over a tensor does with the memory, by the tensor's size: whether it writes past the
// caches, and how far ahead it prefetches.
namespace mpelu::cpu {
// Another type or function in each build of this file, as Vectorized itself is.
inline namespace CPU_CAPABILITY {

/// An output of at least so many bytes is written past the caches. Smaller ones are likely to be
/// read again while a cache has them.
constexpr int64_t kStreamedBytes = int64_t{16} << 20;

/// Of a view, the bytes of the tensor.
inline int64_t tensor_bytes(const Layout& layout, int64_t item_size) {
  return (layout.numel() + layout.outer * layout.skipped) * item_size;
}

inline bool is_large(const Layout& layout, int64_t item_size) {
  return tensor_bytes(layout, item_size) >= kStreamedBytes;
}

/// A tensor of so many bytes is taken to be in no cache.
constexpr int64_t kFarBytes = int64_t{32} << 20;

/// How far to prefetch, in the order in which a tensor is gone through: further than the hardware
/// does, which stops where a row ends, and so near that the first-level cache has still got what
/// was fetched when its turn comes.
constexpr int64_t kPrefetchBytes = 4096;

/// From the caches of the next levels, and from the memory, it takes longer.
struct Prefetching {
  Prefetching(const Layout& layout, int64_t item_size)
      : far(tensor_bytes(layout, item_size) >= kFarBytes),
        distance(kPrefetchBytes / item_size * (is_large(layout, item_size) ? 2 : 1) *
                 (far ? 2 : 1)) {}

  bool far;
  int64_t distance;  // in elements
};

/// Where a pass over a tensor puts its outputs.
enum class Outputs { kInMemory, kInCache, kPastCaches };

template <typename scalar_t>
Outputs outputs_for(const scalar_t* output, const scalar_t* input, const Layout& layout) {
  return is_large(layout, sizeof(scalar_t)) && output != input ? Outputs::kPastCaches
                                                               : Outputs::kInMemory;
}

/// For spans that prefetch so many elements ahead.
inline Access access_for(Outputs outputs, int64_t ahead, bool far) {
  return {ahead, outputs == Outputs::kInCache ? 0 : ahead, far, outputs == Outputs::kPastCaches};
}

}  // namespace CPU_CAPABILITY
}  // namespace mpelu::cpu
