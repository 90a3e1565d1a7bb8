#pragma once

#include <ATen/Dispatch.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "ops/checks.h"
#include "ops/cpu/kernels/stubs.h"
#include "ops/cpu/sum.h"

// Tensors with a number for each channel, and the doubles that the kernels count in. Not by
// torch's arithmetic: for a small layer each of its operators would cost as much as all of ours.
namespace mpelu::cpu {

/// A parameter that may be left out: the same number for every channel then.
inline Parameter parameter(const std::optional<at::Tensor>& tensor, double value) {
  return is_defined(tensor) ? Parameter(*tensor) : Parameter(value);
}

/// Each channel's number, in a tensor of its own.
inline at::Tensor channel_tensor(at::ArrayRef<double> numbers, const at::TensorOptions& options) {
  auto tensor = at::empty({static_cast<int64_t>(numbers.size())}, options);
  AT_DISPATCH_FLOATING_TYPES_AND2(
      at::kBFloat16, at::kHalf, tensor.scalar_type(), "mpelu_channel_tensor_cpu", [&] {
        std::transform(numbers.begin(), numbers.end(), tensor.data_ptr<scalar_t>(),
                       [](double number) { return static_cast<scalar_t>(number); });
      });
  return tensor;
}

/// The gradient of a parameter from the sums of the channels, in its dtype and shape.
inline at::Tensor gradient(const at::Tensor& parameter, const std::vector<double>& sums) {
  if (parameter.numel() != 1) {
    return channel_tensor(at::ArrayRef<double>(sums).slice(0, parameter.numel()),
                          parameter.options());
  }
  CompensatedSum total;
  for (const double sum : sums) {
    total.add(sum);
  }
  return channel_tensor(total.value(), parameter.options()).view(parameter.sizes());
}

}  // namespace mpelu::cpu
