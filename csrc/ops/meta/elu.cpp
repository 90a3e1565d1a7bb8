#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include "ops/checks.h"

namespace mpelu {
namespace {

at::Tensor elu_meta(const at::Tensor& input, double /*alpha*/) {
  check_elu(input);
  return at::empty_like(input);
}

at::Tensor& elu_meta_(at::Tensor& input, double alpha) {
  check_elu_inplace(input, alpha);
  return input;
}

at::Tensor elu_backward_meta(const at::Tensor& grad_output, const at::Tensor& input_or_output,
                             double alpha, bool is_result) {
  check_elu_backward(grad_output, input_or_output, alpha, is_result);
  return at::empty_like(input_or_output);
}

}  // namespace

TORCH_LIBRARY_IMPL(mpelu, Meta, m) {
  m.impl("elu", &elu_meta);
  m.impl("elu_", &elu_meta_);
  m.impl("elu_backward", &elu_backward_meta);
}

}  // namespace mpelu
