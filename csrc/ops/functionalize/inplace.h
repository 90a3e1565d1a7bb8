#pragma once

#include <ATen/FunctionalTensorWrapper.h>
#include <ATen/core/LegacyTypeDispatch.h>

#include <type_traits>

#include "ops/optional_tensor.h"

namespace mpelu {

inline at::Tensor without_wrapper(const at::Tensor& tensor) {
  if (!at::functionalization::impl::isFunctionalTensor(tensor)) {
    return tensor;
  }
  at::functionalization::impl::sync(tensor);
  return at::functionalization::impl::from_functional_tensor(tensor);
}
inline OptionalTensor without_wrapper(const OptionalTensor& tensor) {
  return tensor ? std::optional(without_wrapper(*tensor)) : std::nullopt;
}
template <typename T>
  requires std::is_arithmetic_v<T>
T without_wrapper(T number) {
  return number;
}

inline bool is_functional(const at::Tensor& tensor) {
  return at::functionalization::impl::isFunctionalTensor(tensor);
}
inline bool is_functional(const OptionalTensor& tensor) { return tensor && is_functional(*tensor); }
template <typename T>
  requires std::is_arithmetic_v<T>
bool is_functional(T /*number*/) {
  return false;
}

/// An in-place operator for torch.compile's functionalization: what it writes becomes the new value
/// of input, computed by the operator's out-of-place twin. Torch does this by itself only for
/// operators whose results are not their arguments. An input from outside of what is functionalized
/// is written.
template <typename Inplace, typename Operator, typename... Args>
at::Tensor& functionalize_inplace(const char* op, Inplace inplace, Operator out_of_place,
                                  at::Tensor& input, const Args&... args) {
  if (!is_functional(input)) {
    TORCH_CHECK(!(is_functional(args) || ...), op,
                ": a parameter is a functional tensor, but input, which is written, is none");
    const at::AutoDispatchSkipFunctionalize guard;
    return inplace(input, args...);
  }
  const auto inner = without_wrapper(input);
  at::Tensor output;
  {
    const at::AutoDispatchSkipFunctionalize guard;
    output = out_of_place(inner, without_wrapper(args)...);
  }
  at::functionalization::impl::replace_(input, output);
  at::functionalization::impl::commit_update(input);
  at::functionalization::impl::sync(input);
  return input;
}

}  // namespace mpelu
