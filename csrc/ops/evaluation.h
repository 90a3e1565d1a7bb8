#pragma once

#include "ops/optional_tensor.h"

namespace mpelu {

/// batch_norm_mpelu_evaluation of a backend, by its batch_norm_mpelu.
template <auto batch_norm_mpelu>
auto in_evaluation(const at::Tensor& input, const OptionalTensor& weight,
                   const OptionalTensor& bias, const at::Tensor& running_mean,
                   const at::Tensor& running_var, const at::Tensor& alpha,
                   const OptionalTensor& beta, double eps) {
  return batch_norm_mpelu(input, weight, bias, as_optional(running_mean), as_optional(running_var),
                          alpha, beta, /*training=*/false, /*momentum=*/0, eps);
}

}  // namespace mpelu
