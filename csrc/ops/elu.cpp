#include <mpelu/ops.h>

#include "ops/checks.h"
#include "ops/find_operator.h"

namespace mpelu {

at::Tensor elu(const at::Tensor& input, double alpha) {
  check_defined("elu", input, "input");
  static const auto op = find_operator<decltype(elu)>("mpelu::elu");
  return op.call(input, alpha);
}

at::Tensor& elu_(at::Tensor& input, double alpha) {
  check_defined("elu_", input, "input");
  static const auto op = find_operator<decltype(elu_)>("mpelu::elu_");
  return op.call(input, alpha);
}

at::Tensor elu_backward(const at::Tensor& grad_output, const at::Tensor& input_or_output,
                        double alpha, bool is_result) {
  check_defined("elu_backward", grad_output, "grad_output");
  check_defined("elu_backward", input_or_output, "input_or_output");
  static const auto op = find_operator<decltype(elu_backward)>("mpelu::elu_backward");
  return op.call(grad_output, input_or_output, alpha, is_result);
}

}  // namespace mpelu
