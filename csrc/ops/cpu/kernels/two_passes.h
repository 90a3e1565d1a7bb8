#pragma once

#include <optional>
#include <vector>

#include "ops/cpu/kernels/runs.h"

namespace mpelu::cpu {
// Another type or function in each build of this file, as Vectorized itself is.
inline namespace CPU_CAPABILITY {

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
