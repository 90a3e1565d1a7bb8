#pragma once

#include <ATen/FunctionalTensorWrapper.h>
#include <ATen/core/LegacyTypeDispatch.h>

#include <type_traits>

namespace mpelu {

/// Whether an argument, which may be a number, has a functional tensor in it.
template <typename T>
bool is_functional(const T& argument) {
  if constexpr (std::is_arithmetic_v<T>) {
    return false;
  } else {
    return at::functionalization::impl::isFunctionalTensor(argument);
  }
}

/// An argument with what a functional tensor wraps in its place, up to date.
template <typename T>
T unwrapped(const T& argument) {
  if constexpr (std::is_arithmetic_v<T>) {
    return argument;
  } else {
    at::functionalization::impl::sync(argument);
    return at::functionalization::impl::from_functional_tensor(argument,
                                                               /*assert_functional=*/false);
  }
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
  const auto inner = unwrapped(input);
  at::Tensor output;
  {
    const at::AutoDispatchSkipFunctionalize guard;
    output = out_of_place(inner, unwrapped(args)...);
  }
  at::functionalization::impl::replace_(input, output);
  at::functionalization::impl::commit_update(input);
  at::functionalization::impl::sync(input);
  return input;
}

}  // namespace mpelu
