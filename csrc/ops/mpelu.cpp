#include <mpelu/ops.h>

#include "ops/checks.h"
#include "ops/find_operator.h"
#include "ops/optional_tensor.h"

namespace mpelu {

at::Tensor mpelu(const at::Tensor& input, const at::Tensor& alpha, const OptionalTensor& beta,
                 int64_t dim) {
  check_defined("mpelu", input, "input");
  check_defined("mpelu", alpha, "alpha");
  static const auto op = find_operator<decltype(mpelu)>("mpelu::mpelu");
  return op.call(input, alpha, as_optional(beta), dim);
}

at::Tensor& mpelu_(at::Tensor& input, const at::Tensor& alpha, const OptionalTensor& beta,
                   int64_t dim) {
  check_defined("mpelu_", input, "input");
  check_defined("mpelu_", alpha, "alpha");
  static const auto op = find_operator<decltype(mpelu_)>("mpelu::mpelu_");
  return op.call(input, alpha, as_optional(beta), dim);
}

at::Tensor spelu(const at::Tensor& input, const at::Tensor& alpha, int64_t dim) {
  return mpelu(input, alpha, std::nullopt, dim);
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> mpelu_backward(const at::Tensor& grad_output,
                                                              const at::Tensor& input,
                                                              const at::Tensor& alpha,
                                                              const OptionalTensor& beta,
                                                              int64_t dim) {
  check_defined("mpelu_backward", grad_output, "grad_output");
  check_defined("mpelu_backward", input, "input");
  check_defined("mpelu_backward", alpha, "alpha");
  static const auto op = find_operator<decltype(mpelu_backward)>("mpelu::mpelu_backward");
  return op.call(grad_output, input, alpha, as_optional(beta), dim);
}

}  // namespace mpelu
