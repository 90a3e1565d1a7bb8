#pragma once

#include <vector>

#include "math/batch_norm.h"
#include "ops/cpu/kernels/runs.h"

namespace mpelu::cpu {
// Another type or function in each build of this file, as Vectorized itself is.
inline namespace CPU_CAPABILITY {

/// output = f(input), where each channel's lane says which f.
template <Precision kPrecision, typename scalar_t, typename Lane>
void map_forward(scalar_t* output, const scalar_t* input, const std::vector<Lane>& lanes,
                 const Layout& layout) {
  using V = typename Lane::V;
  const Outputs outputs = outputs_for(output, input, layout);
  with_parameter_range(lanes, [&]<ParameterRange kRange>(RangeConstant<kRange>) {
    for_each_run<scalar_t>(
        layout, lanes, outputs, [&](const auto& run, const auto& visit) MPELU_ALWAYS_INLINE {
          map_span(run, run.of(output), run.of(input), visit,
                   [](const V& x, int64_t /*valid*/, const auto& channel) MPELU_ALWAYS_INLINE {
                     return math::forward<kRange, kPrecision>(x, channel);
                   });
        });
  });
}

}  // namespace CPU_CAPABILITY
}  // namespace mpelu::cpu
