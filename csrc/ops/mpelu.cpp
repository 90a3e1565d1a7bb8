#include <ATen/core/dispatch/Dispatcher.h>
#include <mpelu/ops.h>

#include "ops/checks.h"

namespace mpelu {

at::Tensor mpelu(const at::Tensor& input, const at::Tensor& alpha,
                 const std::optional<at::Tensor>& beta, int64_t dim) {
  static const auto op =
      c10::Dispatcher::singleton().findSchemaOrThrow("mpelu::mpelu", "").typed<decltype(mpelu)>();
  return op.call(input, alpha, as_optional(beta), dim);
}

at::Tensor& mpelu_(at::Tensor& input, const at::Tensor& alpha,
                   const std::optional<at::Tensor>& beta, int64_t dim) {
  static const auto op =
      c10::Dispatcher::singleton().findSchemaOrThrow("mpelu::mpelu_", "").typed<decltype(mpelu_)>();
  return op.call(input, alpha, as_optional(beta), dim);
}

at::Tensor spelu(const at::Tensor& input, const at::Tensor& alpha, int64_t dim) {
  return mpelu(input, alpha, std::nullopt, dim);
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> mpelu_backward(const at::Tensor& grad_output,
                                                              const at::Tensor& input,
                                                              const at::Tensor& alpha,
                                                              const std::optional<at::Tensor>& beta,
                                                              int64_t dim) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("mpelu::mpelu_backward", "")
                             .typed<decltype(mpelu_backward)>();
  return op.call(grad_output, input, alpha, as_optional(beta), dim);
}

}  // namespace mpelu
