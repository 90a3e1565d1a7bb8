#pragma once

#include <ATen/core/Tensor.h>

namespace mpelu::cuda {

template <typename Launch, typename... Arguments>
void launch_on_device_of(const at::Tensor& /*tensor*/, Launch launch,
                         const Arguments&... arguments) {
  TORCH_CHECK(launch(arguments..., /*stream=*/nullptr) == 0, "a launch failed");
}

}  // namespace mpelu::cuda
