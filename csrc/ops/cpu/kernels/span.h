#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "math/vector.h"
#include "ops/cpu/kernels/pack.h"
#include "ops/layout.h"

// The innermost loops: a run of elements that lie side by side in memory.
namespace mpelu::cpu {
// Another type or function in each build of this file, as Vectorized itself is.
inline namespace CPU_CAPABILITY {

template <typename Lane>
constexpr size_t kFields = std::tuple_size_v<decltype(std::declval<Lane>().fields())>;

/// One channel in all lanes.
template <typename Lane>
auto broadcast(const Lane& lane) {
  return std::apply([](auto... field) { return Lane::channel({typename Lane::V(field)...}); },
                    lane.fields());
}

/// make_lane(channel) for each channel.
template <typename MakeLane>
auto lanes_of_channels(int64_t channels, const MakeLane& make_lane) {
  std::vector<decltype(make_lane(0))> lanes;
  lanes.reserve(channels);
  for (int64_t channel = 0; channel < channels; ++channel) {
    lanes.push_back(make_lane(channel));
  }
  return lanes;
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

/// How a pass uses memory: how many elements ahead it prefetches, whether that is far, in no cache,
/// and whether it stores registers past the caches. Without prefetching, loads wait for the memory,
/// and so do stores, which read a line before they write it; only streaming stores do not.
struct Access {
  int64_t input_prefetch_distance;
  int64_t output_prefetch_distance;
  bool far;
  bool stream;
};

/// Into the first-level cache or, where it is far, into the second: that one takes more requests at
/// a time, and the first would wait for them.
template <bool kFar>
MPELU_ALWAYS_INLINE inline void prefetch(const void* address) {
  __builtin_prefetch(address, /*write=*/0, kFar ? 2 : 3);
}

constexpr int64_t kLineBytes = 64;

/// R rows of a tensor.
template <int R, typename scalar_t>
struct Rows {
  using Element = std::remove_const_t<scalar_t>;

  scalar_t* data;
  int64_t stride;

  /// Always inlined: GCC leaves out calls of a function that only prefetches, as without effect.
  template <bool kFar = false>
  MPELU_ALWAYS_INLINE void prefetch(int64_t i, int64_t count) const {
    for (int r = 0; r < R; ++r) {
      for (int64_t first = 0; first < count; first += kLineBytes / sizeof(Element)) {
        cpu::prefetch<kFar>(data + r * stride + i + first);
      }
    }
  }

  /// Of the packs from element i on, the first so many elements; the others are zero.
  template <typename P>
  MPELU_ALWAYS_INLINE std::array<P, R> load(int64_t i, int64_t count) const {
    std::array<P, R> packs;
    for (int r = 0; r < R; ++r) {
      packs[r] = P::load(data + r * stride + i, count);
    }
    return packs;
  }

  template <typename P>
  MPELU_ALWAYS_INLINE void store(const std::array<P, R>& packs, int64_t i, int64_t count,
                                 bool stream) const {
    for (int r = 0; r < R; ++r) {
      packs[r].store(data + r * stride + i, count, stream);
    }
  }

  /// Elements of the first row before the first that begins a whole register of the memory's.
  int64_t before_alignment() const {
    const auto place = reinterpret_cast<uintptr_t>(data) / sizeof(scalar_t);
    return static_cast<int64_t>(-place % at::vec::Vectorized<Element>::size());
  }
};

/// So many elements side by side, in R rows that have the same channels in the same places. Those
/// of outputs that are streamed are aligned alike.
template <int R>
struct Run {
  int64_t offset;
  int64_t stride;
  int64_t size;
  Access access;
  /// Whether its elements are added up, from the first to the last.
  bool in_order = false;

  template <typename scalar_t>
  Rows<R, scalar_t> of(scalar_t* tensor) const {
    return {tensor + offset, stride};
  }

  /// The same run of a tensor that has only the layout's elements.
  Run without_skipped(const Layout& layout) const {
    return {layout.without_skipped(offset), layout.without_skipped(stride), size, access, in_order};
  }
};

// visit(i, body) calls body(channels...) with what belongs to the vector at element i of a run, and
// element(x, valid, channels...) is called for the vector there in each row, of which so many
// elements are valid; the others were read as zero.

constexpr int64_t kPageBytes = 4096;

/// Calls step(i, valid) for count elements in packs, of which the first may have a size of its own;
/// for the whole ones of each page's size from the last to the first if so wished.
template <typename P, typename Step>
MPELU_ALWAYS_INLINE inline void for_each_pack(int64_t first, int64_t count, bool backwards,
                                              const Step& step) {
  int64_t part = std::min(first, count);
  int64_t i = 0;
  do {  // once with all that is whole: every call of step is inlined
    if (part > 0) {
      step(i, part);
      i += part;
    }
    const int64_t whole = i + (count - i) / P::kSize * P::kSize;
    if (backwards) {
      constexpr int64_t kPage = kPageBytes / P::kBytes * P::kSize;
      for (int64_t page = i; page < whole; page += kPage) {
        for (int64_t at = std::min(page + kPage, whole); at > page;) {
          step(at -= P::kSize, P::kSize);
        }
      }
    } else {
      for (int64_t at = i; at < whole; at += P::kSize) {
        step(at, P::kSize);
      }
    }
    i = whole;
    part = count - i;
  } while (part > 0);
}

/// Calls step(r, v, valid, channels...) for vector v of the pack at element i of each row, unless
/// none of its elements is valid.
template <int R, typename P, typename Visit, typename Step>
MPELU_ALWAYS_INLINE inline void for_each_vector(int64_t i, int64_t valid, const Visit& visit,
                                                const Step& step) {
  for (int v = 0; v < P::kVectors; ++v) {
    const int64_t first = v * P::V::size();
    if (first >= valid) {
      return;
    }
    visit(i + first, [&](auto&&... channels) MPELU_ALWAYS_INLINE {
      for (int r = 0; r < R; ++r) {
        step(r, v, valid - first, channels...);
      }
    });
  }
}

/// What a span that goes through so many computations for each vector takes of R rows at a time.
template <int R, typename scalar_t, int kComputations = 1>
using SpanPack =
    Pack<scalar_t, std::max(1, kSideBySide / (R * kComputations * kVectorsOfRegister<scalar_t>))>;

/// Whether loads would suffer from 4K aliasing: modulo 4096 bytes, the output lies up to a quarter
/// page after the input, as blocks that malloc returns one after another do where their sizes are
/// powers of two. By the low bits of the addresses, the processor takes the next load for one of
/// what it has just stored, and waits. From the last pack of a page to the first it does not.
inline bool has_4k_aliasing(const void* output, const void* input) {
  constexpr uintptr_t kPeriod = kPageBytes;
  const uintptr_t distance =
      reinterpret_cast<uintptr_t>(output) - reinterpret_cast<uintptr_t>(input);
  return distance % kPeriod != 0 && distance % kPeriod < kPeriod / 4;
}

/// Whether an output may be streamed by a pass that adds up another tensor at the same time, the
/// same packs of it wherever the output lies.
template <int R, typename scalar_t>
bool may_stream(const Run<R>& run, const Rows<R, scalar_t>& output) {
  return run.access.stream && output.before_alignment() == 0;
}

/// The lines of what is streamed are not fetched ahead, but where its pages lie is, once a run: the
/// stores would wait for it (Zen 4: an eighth of the backward's time).
template <int R, typename scalar_t>
MPELU_ALWAYS_INLINE inline void prefetch_page(const Run<R>& run, const Rows<R, scalar_t>& output,
                                              bool stream) {
  if (stream) {
    output.prefetch(run.access.output_prefetch_distance, /*count=*/1);
  }
}

/// The inputs of a gradient. Only these have the branch: the forward would gain nothing by it, and
/// take a tenth longer by columns (Zen 5).
template <int R, typename... Inputs>
MPELU_ALWAYS_INLINE inline void prefetch_inputs(const Run<R>& run, int64_t i, int64_t count,
                                                const Inputs&... inputs) {
  const int64_t ahead = i + run.access.input_prefetch_distance;
  if (run.access.far) {
    (inputs.template prefetch</*kFar=*/true>(ahead, count), ...);
  } else {
    (inputs.prefetch(ahead, count), ...);
  }
}

/// Writes packs_at(i, valid) to the output. What is streamed stays in order: there the memory sets
/// the pace, a tenth slower backwards (Zen 5).
template <typename P, int R, typename scalar_t, typename PacksAt>
MPELU_ALWAYS_INLINE inline void write_span(const Run<R>& run, const Rows<R, scalar_t>& output,
                                           bool backwards, const PacksAt& packs_at) {
  const bool stream = run.access.stream;
  prefetch_page(run, output, stream);
  for_each_pack<P>(stream ? output.before_alignment() : 0, run.size,
                   backwards && !stream && !run.in_order,
                   [=](int64_t i, int64_t valid) MPELU_ALWAYS_INLINE {
                     const auto packs = packs_at(i, valid);
                     if (!stream || valid < P::kSize) {
                       output.prefetch(i + run.access.output_prefetch_distance, P::kSize);
                     }
                     output.store(packs, i, valid, stream);
                   });
}

/// output = element(input).
template <int R, typename scalar_t, typename Visit, typename Element>
MPELU_ALWAYS_INLINE inline void map_span(const Run<R>& run, const Rows<R, scalar_t>& output,
                                         const Rows<R, const scalar_t>& input, const Visit& visit,
                                         const Element& element) {
  using P = SpanPack<R, scalar_t>;
  write_span<P>(run, output, has_4k_aliasing(output.data, input.data),
                [=](int64_t i, int64_t valid) MPELU_ALWAYS_INLINE {
                  input.prefetch(i + run.access.input_prefetch_distance, P::kSize);
                  auto x = input.template load<P>(i, valid);
                  for_each_vector<R, P>(
                      i, valid, visit,
                      [&](int r, int v, int64_t count, auto&&... channels) MPELU_ALWAYS_INLINE {
                        x[r].vectors[v] = element(x[r].vectors[v], count, channels...);
                      });
                  return x;
                });
}

/// grad_input = element(grad_output, input). grad_output is not prefetched if a cache has it or it
/// is grad_input itself.
template <bool kPrefetchGradOutput = true, int R, typename scalar_t, typename Visit,
          typename Element>
MPELU_ALWAYS_INLINE inline void map_span(const Run<R>& run, const Rows<R, scalar_t>& grad_input,
                                         const Rows<R, const scalar_t>& grad_output,
                                         const Rows<R, const scalar_t>& input, const Visit& visit,
                                         const Element& element) {
  using P = SpanPack<R, scalar_t>;
  write_span<P>(run, grad_input,
                has_4k_aliasing(grad_input.data, input.data) ||
                    has_4k_aliasing(grad_input.data, grad_output.data),
                [=](int64_t i, int64_t valid) MPELU_ALWAYS_INLINE {
                  if constexpr (kPrefetchGradOutput) {
                    prefetch_inputs(run, i, P::kSize, input, grad_output);
                  } else {
                    prefetch_inputs(run, i, P::kSize, input);
                  }
                  const auto x = input.template load<P>(i, valid);
                  auto g = grad_output.template load<P>(i, valid);
                  for_each_vector<R, P>(
                      i, valid, visit,
                      [&](int r, int v, int64_t count, auto&&... channels) MPELU_ALWAYS_INLINE {
                        g[r].vectors[v] =
                            element(g[r].vectors[v], x[r].vectors[v], count, channels...);
                      });
                  return g;
                });
}

/// Two passes at once, the second over an earlier input than the first: output =
/// second(earlier_input), and first(input), which keeps what it makes of it.
template <int R, typename scalar_t, typename Visit, typename First, typename Second>
MPELU_ALWAYS_INLINE inline void relay_span(const Run<R>& run, const Rows<R, scalar_t>& output,
                                           const Rows<R, const scalar_t>& earlier_input,
                                           const Rows<R, const scalar_t>& input, const Visit& visit,
                                           const First& first, const Second& second) {
  using P = SpanPack<R, scalar_t>;
  const bool stream = may_stream(run, output);
  prefetch_page(run, output, stream);
  for_each_pack<P>(
      0, run.size, /*backwards=*/false, [=](int64_t i, int64_t valid) MPELU_ALWAYS_INLINE {
        const int64_t ahead = i + run.access.input_prefetch_distance;
        input.prefetch(ahead, P::kSize);
        earlier_input.prefetch(ahead, P::kSize);
        const auto x = input.template load<P>(i, valid);
        auto y = earlier_input.template load<P>(i, valid);
        for_each_vector<R, P>(i, valid, visit,
                              [&](int r, int v, int64_t count, auto&&... channels)
                                  MPELU_ALWAYS_INLINE {
                                    first(x[r].vectors[v], count, channels...);
                                    y[r].vectors[v] = second(y[r].vectors[v], channels...);
                                  });
        if (!stream) {
          output.prefetch(ahead, P::kSize);
        }
        output.store(y, i, valid, stream);
      });
}

/// The same where the second pass needs what the first has made of the earlier input: output =
/// second(results, earlier_input), and in their place results = first(grad_output, input).
template <int R, typename scalar_t, typename Visit, typename First, typename Second>
MPELU_ALWAYS_INLINE inline void relay_span(const Run<R>& run, const Rows<R, scalar_t>& output,
                                           const Rows<R, const scalar_t>& earlier_input,
                                           const Rows<R, scalar_t>& results,
                                           const Rows<R, const scalar_t>& grad_output,
                                           const Rows<R, const scalar_t>& input, const Visit& visit,
                                           const First& first, const Second& second) {
  using P = SpanPack<R, scalar_t, /*kComputations=*/2>;
  const bool stream = may_stream(run, output);
  prefetch_page(run, output, stream);
  for_each_pack<P>(
      0, run.size, /*backwards=*/false, [=](int64_t i, int64_t valid) MPELU_ALWAYS_INLINE {
        const int64_t ahead = i + run.access.input_prefetch_distance;
        input.prefetch(ahead, P::kSize);
        grad_output.prefetch(ahead, P::kSize);
        earlier_input.prefetch(ahead, P::kSize);
        const auto x = input.template load<P>(i, valid);
        const auto earlier_x = earlier_input.template load<P>(i, valid);
        auto y = results.template load<P>(i, valid);
        auto g = grad_output.template load<P>(i, valid);
        for_each_vector<R, P>(
            i, valid, visit,
            [&](int r, int v, int64_t count, auto&&... channels) MPELU_ALWAYS_INLINE {
              y[r].vectors[v] = second(y[r].vectors[v], earlier_x[r].vectors[v], channels...);
              g[r].vectors[v] = first(g[r].vectors[v], x[r].vectors[v], count, channels...);
            });
        if (!stream) {
          output.prefetch(ahead, P::kSize);
        }
        output.store(y, i, valid, stream);
        results.store(g, i, valid, /*stream=*/false);
      });
}

/// element(input), which keeps what it makes of it.
template <int R, typename scalar_t, typename Visit, typename Element>
MPELU_ALWAYS_INLINE inline void sum_span(const Run<R>& run, const Rows<R, const scalar_t>& input,
                                         const Visit& visit, const Element& element) {
  using P = SpanPack<R, scalar_t>;
  for_each_pack<P>(0, run.size, /*backwards=*/false,
                   [=](int64_t i, int64_t valid) MPELU_ALWAYS_INLINE {
                     input.prefetch(i + run.access.input_prefetch_distance, P::kSize);
                     const auto x = input.template load<P>(i, valid);
                     for_each_vector<R, P>(
                         i, valid, visit,
                         [&](int r, int v, int64_t count, auto&&... channels)
                             MPELU_ALWAYS_INLINE { element(x[r].vectors[v], count, channels...); });
                   });
}

}  // namespace CPU_CAPABILITY
}  // namespace mpelu::cpu
