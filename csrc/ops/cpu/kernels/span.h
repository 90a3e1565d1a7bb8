#pragma once

#include <algorithm>
#include <vector>

#include "math/vector.h"
#include "ops/cpu/kernels/pack.h"

// The innermost loops: a run of elements that lie side by side in memory.
namespace mpelu::cpu {
// Another type or function in each build of this file, as Vectorized itself is.
inline namespace CPU_CAPABILITY {

/// One channel in all lanes.
template <typename T, typename V = at::vec::Vectorized<T>>
math::Channel<V> broadcast(const math::Lane<T>& lane) {
  return {{V(lane.beta), V(lane.size), V(lane.round), V(lane.lowest), V(lane.beyond)},
          V(lane.alpha)};
}

/// A channel for every column of a tensor, as arrays of what makes them, which are to have room for
/// a whole pack after the last column.
template <typename T>
class ManyChannels {
  using V = at::vec::Vectorized<T>;
  static constexpr int64_t kFields = 6;

 public:
  explicit ManyChannels(int64_t size) : size_(size), values_(kFields * size) {}

  void set(int64_t column, const math::Lane<T>& lane) {
    T* const fields = values_.data() + column;
    fields[0] = lane.beta;
    fields[size_] = lane.size;
    fields[2 * size_] = lane.round;
    fields[3 * size_] = lane.lowest;
    fields[4 * size_] = lane.beyond;
    fields[5 * size_] = lane.alpha;
  }

  /// The channels of a span that begins at `column`.
  auto from(int64_t column) const {
    return [fields = values_.data() + column, size = size_](int64_t i) MPELU_ALWAYS_INLINE {
      const auto field = [&](int64_t number)
                             MPELU_ALWAYS_INLINE { return V::loadu(fields + number * size + i); };
      return math::Channel<V>{{field(0), field(1), field(2), field(3), field(4)}, field(5)};
    };
  }

 private:
  int64_t size_;
  std::vector<T> values_;
};

/// How the spans of a loop use memory.
struct Access {
  /// So many elements ahead a span asks for its inputs: without it, their loads wait for the
  /// memory.
  int64_t ahead;
  /// Outputs go past the caches.
  bool stream;
};

/// Writes the packs of count elements to output: pack_at(load, i) for the one from element i on,
/// which is to read its inputs by load(tensor). Streamed packs are aligned, so that the first may
/// be a part of one, as the last.
template <typename scalar_t, typename PackAt>
MPELU_ALWAYS_INLINE inline void write_span(scalar_t* output, int64_t count, bool stream,
                                           const PackAt& pack_at) {
  using P = Pack<scalar_t>;
  const auto place = reinterpret_cast<uintptr_t>(output) / sizeof(scalar_t) % P::kSize;
  int64_t part = stream && place > 0 ? std::min<int64_t>(P::kSize - place, count) : 0;
  int64_t i = 0;
  do {
    if (part > 0) {
      const auto load = [&](const scalar_t* from)
                            MPELU_ALWAYS_INLINE { return P::load(from + i, part); };
      pack_at(load, i).store(output + i, part);
      i += part;
    }
    for (; i + P::kSize <= count; i += P::kSize) {
      const auto load = [&](const scalar_t* from) MPELU_ALWAYS_INLINE { return P::load(from + i); };
      const P pack = pack_at(load, i);
      if (stream) {
        pack.stream(output + i);
      } else {
        pack.store(output + i);
      }
    }
    part = count - i;
  } while (part > 0);
}

/// f over count elements; channel_at(i) has the channels from element i on.
template <typename scalar_t, typename ChannelAt>
MPELU_ALWAYS_INLINE inline void forward_span(scalar_t* output, const scalar_t* input, int64_t count,
                                             const Access& access, const ChannelAt& channel_at) {
  using P = Pack<scalar_t>;
  write_span(output, count, access.stream, [&](const auto& load, int64_t i) MPELU_ALWAYS_INLINE {
    __builtin_prefetch(input + i + access.ahead);
    P x = load(input);
    for (int v = 0; v < P::kVectors; ++v) {
      x.vectors[v] = math::forward(x.vectors[v], channel_at(i + v * P::V::size()));
    }
    return x;
  });
}

/// The gradients over count elements: gradient(g, x, i) returns the input's for the vector at i.
/// Lanes past the end have x = 0 and g = 0, which give nothing to any sum.
template <typename scalar_t, typename GradientAt>
MPELU_ALWAYS_INLINE inline void backward_span(scalar_t* grad_input, const scalar_t* grad_output,
                                              const scalar_t* input, int64_t count,
                                              const Access& access, const GradientAt& gradient) {
  using P = Pack<scalar_t>;
  write_span(grad_input, count, access.stream,
             [&](const auto& load, int64_t i) MPELU_ALWAYS_INLINE {
               __builtin_prefetch(input + i + access.ahead);
               __builtin_prefetch(grad_output + i + access.ahead);
               const P x = load(input);
               P g = load(grad_output);
               for (int v = 0; v < P::kVectors; ++v) {
                 g.vectors[v] = gradient(g.vectors[v], x.vectors[v], i + v * P::V::size());
               }
               return g;
             });
}

}  // namespace CPU_CAPABILITY
}  // namespace mpelu::cpu
