#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "ops/cpu/kernels/runs.h"

namespace mpelu::cpu {
// Another type or function in each build of this file, as Vectorized itself is.
inline namespace CPU_CAPABILITY {

/// What passes over a tensor more than once does so for so many bytes of it at a time. The backward
/// has three of that size in hand: a part of the second-level cache.
constexpr int64_t kCachedBytes = int64_t{1} << 18;
/// Or, where the next cache does not have the tensor either, one channel of no more than so many.
constexpr int64_t kLargestChannelBytes = int64_t{1} << 20;
/// In so many parts at least, each for a thread.
constexpr int64_t kParts = 16;
/// A part's elements lie side by side for so many bytes at least: a few lines, which the hardware
/// fetches together.
constexpr int64_t kPartRunBytes = 512;

/// Views of some channels of a tensor each, so few that they stay in the cache from one pass to the
/// next. A single one, of the whole tensor, where it cannot be cut so.
struct Parts {
  /// Of a tensor whose elements have so many bytes.
  Parts(const Layout& layout, int64_t item_size)
      : layout(layout),
        channels(channels_of_parts(layout, item_size)),
        count(ceil_divide(layout.channels, channels)) {}

  struct Unit {
    Layout layout;
    int64_t channel;  // of the tensor, the first of the part's
    int64_t offset;
  };

  /// Calls body(unit) for the units begin, ..., end - 1.
  template <typename Body>
  void for_each(int64_t begin, int64_t end, const Body& body) const {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t channel = i * channels;
      Layout part = layout;
      part.channels = std::min(channels, layout.channels - channel);
      part.skipped = (layout.channels - part.channels) * layout.inner;
      body(Unit{part, channel, channel * layout.inner});
    }
  }

  int64_t elements_per_unit() const { return layout.outer * channels * layout.inner; }

  Layout layout;
  int64_t channels;  // of a part
  int64_t count;

 private:
  static int64_t channels_of_parts(const Layout& layout, int64_t item_size) {
    const int64_t channel_bytes = layout.outer * layout.inner * item_size;
    const int64_t fitting = kCachedBytes / channel_bytes;
    const bool may_be_one = is_large(layout, item_size) && channel_bytes <= kLargestChannelBytes;
    const int64_t most =
        std::min(may_be_one ? std::max<int64_t>(1, fitting) : fitting, layout.channels / kParts);
    return most * layout.inner * item_size < kPartRunBytes ? layout.channels : most;
  }
};

/// A part that the first pass has gone over, and what the second needs to know of its channels.
template <typename Lane>
struct SecondPass {
  Parts::Unit part;
  std::vector<Lane> lanes;
};

/// Goes over every part twice. The second pass over a part waits for the first pass over the next,
/// which takes its time in the arithmetic while the second one waits for the memory: where the
/// parts are of one size and have long rows they go together. (What both need of every column is
/// more than the cache has at hand.) make_passes() is called on every thread, for an object with
///
///   SecondPass<Lane> first(const Parts::Unit& part);
///   void second(const SecondPass<Lane>& due);
///   SecondPass<Lane> both(const SecondPass<Lane>& due, const Parts::Unit& part);
template <typename scalar_t, typename MakePasses>
void in_two_passes(const Parts& parts, const MakePasses& make_passes) {
  share_out(parts, [&](const auto& for_each_part) {
    auto passes = make_passes();
    std::optional<decltype(passes.first(Parts::Unit{}))> due;
    for_each_part([&](const Parts::Unit& part) {
      if (due && due->part.layout.channels == part.layout.channels &&
          has_long_rows<scalar_t>(part.layout)) {
        due = passes.both(*due, part);
        return;
      }
      if (due) {
        passes.second(*due);
      }
      due = passes.first(part);
    });
    if (due) {
      passes.second(*due);
    }
  });
}

}  // namespace CPU_CAPABILITY
}  // namespace mpelu::cpu
