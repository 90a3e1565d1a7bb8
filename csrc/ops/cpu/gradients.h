#pragma once

#include <ATen/Dispatch.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <vector>

#include "ops/cpu/sum.h"

namespace mpelu::cpu {

/// The gradient of a parameter from the sums of the channels, in its dtype and shape.
inline at::Tensor gradient(const at::Tensor& parameter, const std::vector<double>& sums) {
  auto grad = at::empty(parameter.sizes(), parameter.options());
  AT_DISPATCH_FLOATING_TYPES_AND2(
      at::kBFloat16, at::kHalf, parameter.scalar_type(), "mpelu_gradient_cpu", [&] {
        auto* const data = grad.data_ptr<scalar_t>();
        if (parameter.numel() == 1) {
          CompensatedSum total;
          for (const double sum : sums) {
            total.add(sum);
          }
          *data = static_cast<scalar_t>(total.value());
        } else {
          std::transform(sums.begin(), sums.begin() + parameter.numel(), data,
                         [](double sum) { return static_cast<scalar_t>(sum); });
        }
      });
  return grad;
}

}  // namespace mpelu::cpu
