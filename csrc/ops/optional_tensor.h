#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace mpelu {

/// A tensor that may be left out. In C++ an undefined one is left out, too.
using OptionalTensor = std::optional<at::Tensor>;

inline bool is_defined(const at::Tensor& tensor) { return tensor.defined(); }
inline bool is_defined(const OptionalTensor& tensor) {
  return tensor.has_value() && tensor->defined();
}

/// Nothing for an undefined tensor, as the operators have it.
inline OptionalTensor as_optional(const at::Tensor& tensor) {
  return tensor.defined() ? OptionalTensor(tensor) : std::nullopt;
}
inline OptionalTensor as_optional(const OptionalTensor& tensor) {
  return is_defined(tensor) ? tensor : std::nullopt;
}

/// Puts into a tensor what has become of it in another one, that it had been converted to.
inline void write_back(const OptionalTensor& tensor, const OptionalTensor& converted) {
  if (is_defined(tensor) && !converted->is_same(*tensor)) {
    tensor->copy_(*converted);
  }
}

}  // namespace mpelu
