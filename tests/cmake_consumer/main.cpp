// Uses what the package installs, and nothing else: the headers, the library and its operators.

#include <mpelu/mpelu.h>
#include <torch/torch.h>

#include <cmath>
#include <cstdlib>
#include <iostream>

int main() {
  const auto input = torch::tensor({{-1.0F, 0.0F, 2.0F}});
  const auto expected = torch::tensor({{0.5F * std::expm1(-2.0F), 0.0F, 2.0F}});
  const auto alpha = torch::tensor(0.5F);
  const auto beta = torch::tensor(2.0F);

  torch::nn::Sequential model(mpelu::nn::MPELU(mpelu::nn::MPELUOptions().alpha(0.5).beta(2.0)));

  for (const auto& output : {mpelu::mpelu(input, alpha, beta), model->forward(input)}) {
    if (!torch::allclose(output, expected)) {
      std::cerr << "expected " << expected << ", got " << output << '\n';
      return EXIT_FAILURE;
    }
  }
  std::cout << "mpelu works in a CMake project\n";
  return EXIT_SUCCESS;
}
