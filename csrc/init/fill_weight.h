#pragma once

#include <mpelu/init.h>

namespace mpelu::init {

/// Fills the weight of a layer in so many groups for an activation with this slope at 0 from below.
/// Each group is a layer of its own, with fewer inputs and outputs.
MPELU_API void fill_weight(const at::Tensor& weight, double slope, FanMode mode,
                           Distribution distribution, const std::optional<at::Generator>& generator,
                           int64_t groups);

}  // namespace mpelu::init
