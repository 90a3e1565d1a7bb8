#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <optional>

namespace mpelu {

/// A tensor that may be left out.
using OptionalTensor = std::optional<at::Tensor>;

/// Nothing for an undefined tensor. C++ may leave out either way; operators know nothing alone.
inline OptionalTensor as_optional(const at::Tensor& tensor) {
  return tensor.defined() ? OptionalTensor(tensor) : std::nullopt;
}
inline OptionalTensor as_optional(const OptionalTensor& tensor) {
  return tensor ? as_optional(*tensor) : std::nullopt;
}

/// What a backward operator returns for a parameter that is left out.
inline at::Tensor no_gradient(const at::Tensor& alpha) { return at::empty({0}, alpha.options()); }

/// Puts into a tensor what has become of it in another one, that it had been converted to.
inline void write_back(const OptionalTensor& tensor, const OptionalTensor& converted) {
  if (tensor && !converted->is_same(*tensor)) {
    tensor->copy_(*converted);
  }
}

}  // namespace mpelu
