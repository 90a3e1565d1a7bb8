#pragma once

#include <torch/nn/modules/container/sequential.h>

/// A Sequential that goes inside another: torch's own has a templated forward, which cannot.
struct StackImpl : torch::nn::SequentialImpl {
  using SequentialImpl::SequentialImpl;
  at::Tensor forward(const at::Tensor& input) { return SequentialImpl::forward(input); }
};
TORCH_MODULE(Stack);
