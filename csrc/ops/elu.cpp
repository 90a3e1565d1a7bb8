#include <ATen/core/dispatch/Dispatcher.h>
#include <mpelu/ops.h>

namespace mpelu {

at::Tensor elu(const at::Tensor& input, double alpha) {
  static const auto op =
      c10::Dispatcher::singleton().findSchemaOrThrow("mpelu::elu", "").typed<decltype(elu)>();
  return op.call(input, alpha);
}

at::Tensor& elu_(at::Tensor& input, double alpha) {
  static const auto op =
      c10::Dispatcher::singleton().findSchemaOrThrow("mpelu::elu_", "").typed<decltype(elu_)>();
  return op.call(input, alpha);
}

at::Tensor elu_backward(const at::Tensor& grad_output, const at::Tensor& input_or_output,
                        double alpha, bool is_result) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("mpelu::elu_backward", "")
                             .typed<decltype(elu_backward)>();
  return op.call(grad_output, input_or_output, alpha, is_result);
}

}  // namespace mpelu
