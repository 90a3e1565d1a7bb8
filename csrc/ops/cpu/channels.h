#pragma once

#include <ATen/Dispatch.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <vector>

#include "ops/cpu/sum.h"
#include "ops/optional_tensor.h"

// Tensors with a number for each channel, and the doubles that the kernels take and give. Not by
// torch's arithmetic: for a small layer each of its operators would cost as much as all of ours.
namespace mpelu::cpu {

/// Each channel's number, of a tensor with one for each or one for all.
inline std::vector<double> channel_numbers(const at::Tensor& tensor, int64_t channels) {
  std::vector<double> numbers(channels);
  const int64_t stride = tensor.numel() == 1 ? 0 : tensor.stride(0);
  AT_DISPATCH_FLOATING_TYPES_AND2(
      at::kBFloat16, at::kHalf, tensor.scalar_type(), "mpelu_channel_numbers_cpu", [&] {
        const auto* const data = tensor.const_data_ptr<scalar_t>();
        for (int64_t channel = 0; channel < channels; ++channel) {
          numbers[channel] = static_cast<double>(data[channel * stride]);
        }
      });
  return numbers;
}

/// The same of one that may be left out: the constant for every channel then.
inline std::vector<double> channel_numbers(const OptionalTensor& tensor, int64_t channels,
                                           double constant) {
  return tensor ? channel_numbers(*tensor, channels) : std::vector<double>(channels, constant);
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

/// The gradient of a parameter from the channels' shares, in its dtype and shape.
inline at::Tensor gradient(const at::Tensor& parameter, const std::vector<double>& shares) {
  if (parameter.numel() != 1) {
    // A parameter of no elements has none of the one channel's share.
    return channel_tensor(at::ArrayRef<double>(shares).slice(0, parameter.numel()),
                          parameter.options());
  }
  CompensatedSum total;
  for (const double share : shares) {
    total.add(share);
  }
  return channel_tensor(total.value(), parameter.options()).view(parameter.sizes());
}

}  // namespace mpelu::cpu
