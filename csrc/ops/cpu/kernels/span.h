#pragma once

#include <algorithm>
#include <array>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "math/vector.h"
#include "ops/cpu/kernels/pack.h"

// The innermost loops: a run of elements that lie side by side in memory.
namespace mpelu::cpu {
// Another type or function in each build of this file, as Vectorized itself is.
inline namespace CPU_CAPABILITY {

template <typename Lane>
constexpr size_t kFields = std::tuple_size_v<decltype(std::declval<Lane>().fields())>;

/// One channel in all lanes.
template <typename Lane>
auto broadcast(const Lane& lane) {
  const auto fields = lane.fields();
  std::array<typename Lane::V, kFields<Lane>> vectors;
  for (size_t i = 0; i < fields.size(); ++i) {
    vectors[i] = typename Lane::V(fields[i]);
  }
  return Lane::channel(vectors);
}

using math::ParameterRange;
using math::Precision;
using math::RangeConstant;

/// Calls body with the narrowest range that has the parameters of all lanes, as a constant.
template <typename Lane, typename Body>
auto with_parameter_range(const std::vector<Lane>& lanes, const Body& body) {
  if (std::any_of(lanes.begin(), lanes.end(), [](const Lane& lane) { return lane.grows(); })) {
    return body(RangeConstant<ParameterRange::kAny>());
  }
  return body(RangeConstant<ParameterRange::kDecaying>());
}

// The loops take what they read in each step by value: what they store could be a member of
// anything that lies in memory.

/// Where a span asks for memory in advance: so many elements ahead, and so many more where that is
/// past its end.
struct Ahead {
  int64_t distance;
  int64_t skip;

  /// Where to ask from element i of count.
  int64_t from(int64_t i, int64_t count) const {
    return i + distance + (i + distance < count ? 0 : skip);
  }
};

/// How the spans of a pass use memory. Loads would wait for what is not asked for, and stores for
/// their lines, unless whole packs go past the caches.
struct Access {
  Ahead inputs;
  Ahead outputs;
  bool stream;
};

/// Asks for a line into the second-level cache, which has room for what is far ahead and takes more
/// requests at a time than the first.
MPELU_ALWAYS_INLINE inline void ask_for(const void* address) { __builtin_prefetch(address, 0, 2); }

/// Writes count elements to output: pack_at(load, i, valid) returns the pack from element i on, for
/// which it is to read its inputs by load(tensor). Of the first and of the last pack only so many
/// elements may be valid, since streamed packs are aligned; the others are zero.
template <typename scalar_t, typename PackAt>
MPELU_ALWAYS_INLINE inline void write_span(scalar_t* output, int64_t count, Access access,
                                           const PackAt& pack_at) {
  using P = Pack<scalar_t>;
  const auto place = reinterpret_cast<uintptr_t>(output) / sizeof(scalar_t) % P::kSize;
  int64_t part = access.stream && place > 0 ? std::min<int64_t>(P::kSize - place, count) : 0;
  int64_t i = 0;
  do {
    if (part > 0) {
      const auto load = [&](const scalar_t* from)
                            MPELU_ALWAYS_INLINE { return P::load(from + i, part); };
      pack_at(load, i, part).store(output + i, part);
      ask_for(output + access.outputs.from(i, count));
      i += part;
    }
    for (; i + P::kSize <= count; i += P::kSize) {
      const auto load = [&](const scalar_t* from) MPELU_ALWAYS_INLINE { return P::load(from + i); };
      const P pack = pack_at(load, i, P::kSize);
      if (access.stream) {
        pack.stream(output + i);
      } else {
        ask_for(output + access.outputs.from(i, count));
        pack.store(output + i);
      }
    }
    part = count - i;
  } while (part > 0);
}

// value and term are called for the vector at i: (x, i, valid) or (g, x, i, valid).

/// output = value(input).
template <typename scalar_t, typename Value>
MPELU_ALWAYS_INLINE inline void map_span(scalar_t* output, const scalar_t* input, int64_t count,
                                         Access access, Value value) {
  using P = Pack<scalar_t>;
  write_span(output, count, access,
             [&](const auto& load, int64_t i, int64_t valid) MPELU_ALWAYS_INLINE {
               ask_for(input + access.inputs.from(i, count));
               P x = load(input);
               for (int v = 0; v < P::kVectors; ++v) {
                 const int64_t first = v * P::V::size();
                 x.vectors[v] = value(x.vectors[v], i + first, valid - first);
               }
               return x;
             });
}

/// grad_input = value(grad_output, input). grad_output need not be asked for if a cache has it or
/// it is grad_input itself.
template <bool kAskForGradOutput = true, typename scalar_t, typename Value>
MPELU_ALWAYS_INLINE inline void map_span(scalar_t* grad_input, const scalar_t* grad_output,
                                         const scalar_t* input, int64_t count, Access access,
                                         Value value) {
  using P = Pack<scalar_t>;
  write_span(grad_input, count, access,
             [&](const auto& load, int64_t i, int64_t valid) MPELU_ALWAYS_INLINE {
               const int64_t ahead = access.inputs.from(i, count);
               ask_for(input + ahead);
               if constexpr (kAskForGradOutput) {
                 ask_for(grad_output + ahead);
               }
               const P x = load(input);
               P g = load(grad_output);
               for (int v = 0; v < P::kVectors; ++v) {
                 const int64_t first = v * P::V::size();
                 g.vectors[v] = value(g.vectors[v], x.vectors[v], i + first, valid - first);
               }
               return g;
             });
}

/// term(input), which keeps what it makes of it.
template <typename scalar_t, typename Term>
MPELU_ALWAYS_INLINE inline void sum_span(const scalar_t* input, int64_t count, Access access,
                                         Term term) {
  using P = Pack<scalar_t>;
  const auto add = [&](const P& x, int64_t i, int64_t valid) MPELU_ALWAYS_INLINE {
    ask_for(input + access.inputs.from(i, count));
    for (int v = 0; v < P::kVectors; ++v) {
      const int64_t first = v * P::V::size();
      term(x.vectors[v], i + first, valid - first);
    }
  };
  int64_t i = 0;
  for (; i + P::kSize <= count; i += P::kSize) {
    add(P::load(input + i), i, P::kSize);
  }
  if (const int64_t part = count - i; part > 0) {
    add(P::load(input + i, part), i, part);
  }
}

}  // namespace CPU_CAPABILITY
}  // namespace mpelu::cpu
