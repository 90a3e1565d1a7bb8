#pragma once

#include <cstdint>

#include "math/mpelu.h"
#include "ops/cuda/arguments.h"
#include "ops/cuda/channelwise.cuh"
#include "ops/cuda/element.cuh"
#include "ops/cuda/parameter.cuh"

namespace mpelu::cuda {

/// f of view's channels.
template <typename scalar_t, typename View>
struct Forward {
  static constexpr int kInputs = 1;
  static constexpr int kBlocks = View::kForwardBlocks;
  static constexpr int kBlocksByColumns = View::kForwardBlocksByColumns;
  using Channel = typename View::Channel;

  View view;

  __device__ Channel channel(uint32_t index) const { return view[index]; }

  template <math::ParameterRange kRange, typename V>
  __device__ V compute(const V (&inputs)[1], const Channel& channel) const {
    return math::forward<kRange, View::template kPrecision<scalar_t>>(inputs[0], channel);
  }
};

/// output = f(input), for the f of view's channels; kMost is launch_channelwise's.
template <typename scalar_t, int kMost, typename View, typename Launch>
void launch_forward(const Layout& layout, const void* input, void* output, const View& view,
                    Launch& launch) {
  launch_channelwise<scalar_t, kMost>({{input}, output, layout.numel()}, layout,
                                      Forward<scalar_t, View>{view}, launch);
}

template <typename scalar_t, typename param_t, typename Launch>
void launch_forward(const ForwardArguments& arguments, Launch& launch) {
  const ActivationView<param_t, Arithmetic<scalar_t>> view(arguments.alpha, arguments.beta);
  launch_forward<scalar_t, kWidest<scalar_t>>(arguments.layout, arguments.input, arguments.output,
                                              view, launch);
}

}  // namespace mpelu::cuda
