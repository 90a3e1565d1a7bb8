#include <mpelu/ops.h>
#include <torch/library.h>

#include "ops/functionalize/inplace.h"
#include "ops/optional_tensor.h"

namespace mpelu {
namespace {

at::Tensor& mpelu_functionalize_(at::Tensor& input, const at::Tensor& alpha,
                                 const OptionalTensor& beta, int64_t dim) {
  return functionalize_inplace("mpelu_", &mpelu_, &mpelu, input, alpha, beta, dim);
}

}  // namespace

TORCH_LIBRARY_IMPL(mpelu, Functionalize, m) { m.impl("mpelu_", &mpelu_functionalize_); }

}  // namespace mpelu
