#pragma once

#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/csrc/autograd/functions/utils.h>

namespace mpelu {

/// Whether an operator must be written in differentiable ones: inside a torch.func transform, whose
/// levels a C++ autograd::Function does not know, or where an input carries a forward tangent.
template <typename... Tensors>
bool is_transformed(const Tensors&... tensors) {
  return c10::impl::tls_is_dispatch_key_included(c10::DispatchKey::FuncTorchDynamicLayerBackMode) ||
         (torch::autograd::isFwGradDefined(tensors) || ...);
}

}  // namespace mpelu
