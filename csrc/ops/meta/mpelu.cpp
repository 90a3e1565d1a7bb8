#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include "ops/checks.h"

namespace mpelu {
namespace {

at::Tensor mpelu_meta(const at::Tensor& input, const at::Tensor& alpha, const OptionalTensor& beta,
                      int64_t dim) {
  check_mpelu(input, alpha, beta, dim);
  return at::empty_like(input);
}

at::Tensor& mpelu_meta_(at::Tensor& input, const at::Tensor& alpha, const OptionalTensor& beta,
                        int64_t dim) {
  check_mpelu_inplace(input, alpha, beta, dim);
  return input;
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> mpelu_backward_meta(const at::Tensor& grad_output,
                                                                   const at::Tensor& input,
                                                                   const at::Tensor& alpha,
                                                                   const OptionalTensor& beta,
                                                                   int64_t dim) {
  check_mpelu_backward(grad_output, input, alpha, beta, dim);
  return {at::empty_like(input), at::empty_like(alpha),
          beta ? at::empty_like(*beta) : no_gradient(alpha)};
}

}  // namespace

TORCH_LIBRARY_IMPL(mpelu, Meta, m) {
  m.impl("mpelu", &mpelu_meta);
  m.impl("mpelu_", &mpelu_meta_);
  m.impl("mpelu_backward", &mpelu_backward_meta);
}

}  // namespace mpelu
