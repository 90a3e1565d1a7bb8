#include <mpelu/ops.h>
#include <torch/library.h>

#include "ops/checks.h"
#include "ops/functionalize/inplace.h"

namespace mpelu {
namespace {

at::Tensor& elu_functionalize_(at::Tensor& input, double alpha) {
  check_elu_inplace_alpha(alpha);
  return functionalize_inplace("elu_", &elu_, &elu, input, alpha);
}

}  // namespace

TORCH_LIBRARY_IMPL(mpelu, Functionalize, m) { m.impl("elu_", &elu_functionalize_); }

}  // namespace mpelu
