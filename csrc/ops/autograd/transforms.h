#pragma once

#include <ATen/core/grad_mode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include "ops/optional_tensor.h"

namespace mpelu {

inline const at::Tensor& value(const at::Tensor& tensor) { return tensor; }
inline const at::Tensor& value(const OptionalTensor& tensor) { return *tensor; }

/// Whether a gradient will be asked of an operator on these tensors.
template <typename... Tensors>
bool requires_grad(const Tensors&... tensors) {
  return at::GradMode::is_enabled() &&
         ((is_defined(tensors) && value(tensors).requires_grad()) || ...);
}

/// Whether an operator must be written in differentiable ones: inside a torch.func transform, whose
/// levels a C++ autograd::Function does not know, or where an input carries a forward tangent.
template <typename... Tensors>
bool is_transformed(const Tensors&... tensors) {
  return c10::impl::tls_is_dispatch_key_included(c10::DispatchKey::FuncTorchDynamicLayerBackMode) ||
         ((is_defined(tensors) && value(tensors)._fw_grad(/*level=*/0).defined()) || ...);
}

}  // namespace mpelu
