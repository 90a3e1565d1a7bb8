// The C++ half of tests/python/test_checkpoint_exchange.py: a model whose twin is written there.
//
//   mpelu_checkpoint_exchange save STATE INPUT OUTPUT   writes the state dict of a model
//   mpelu_checkpoint_exchange load STATE INPUT OUTPUT   reads it into another one
//
// Both run the model on the tensor in the file INPUT, in its dtype, and write the result to OUTPUT.

#include <mpelu/mpelu.h>
#include <torch/torch.h>

#include <fstream>
#include <iostream>
#include <string>
#include <vector>

namespace {

torch::nn::Sequential make_model() {
  using mpelu::nn::BatchNormMPELUOptions;
  using mpelu::nn::MPELUOptions;
  using mpelu::nn::SPELUOptions;
  return torch::nn::Sequential(
      torch::nn::Conv2d(torch::nn::Conv2dOptions(3, 4, 3).bias(false)), torch::nn::BatchNorm2d(4),
      mpelu::nn::MPELU(MPELUOptions(4).alpha(0.25)), torch::nn::ConvTranspose2d(4, 5, 2),
      mpelu::nn::SPELU(SPELUOptions(5).alpha(0.5)), mpelu::nn::MPELU(), mpelu::nn::ELU(0.5),
      mpelu::nn::BatchNormMPELU2d(BatchNormMPELUOptions(5).alpha(0.25)),
      mpelu::nn::BatchNormMPELU2d(
          BatchNormMPELUOptions(5).beta(std::nullopt).momentum(std::nullopt).num_parameters(1)),
      torch::nn::Flatten(), torch::nn::Linear(5 * 5 * 5, 2));
}

at::Tensor read_tensor(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> bytes((std::istreambuf_iterator<char>(file)), {});
  return torch::pickle_load(bytes).toTensor();
}

void write_tensor(const at::Tensor& tensor, const std::string& path) {
  const auto bytes = torch::pickle_save(tensor);
  std::ofstream(path, std::ios::binary)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

/// Gives every parameter and statistic a value of its own.
void scramble(torch::nn::Sequential& model, const at::Tensor& input) {
  const torch::NoGradGuard no_grad;
  for (auto& parameter : model->parameters()) {
    parameter.uniform_(0.5, 1.5);
  }
  model->forward(input);
}

void run(const std::string& action, const std::string& state, const std::string& input_path,
         const std::string& output_path) {
  const auto input = read_tensor(input_path);
  auto model = make_model();
  model->to(input.scalar_type());
  scramble(model, input);
  if (action == "save") {
    mpelu::save_state_dict(*model, state);
  } else {
    mpelu::load_state_dict(*model, state);
  }
  model->eval();
  write_tensor(model->forward(input).detach(), output_path);
}

}  // namespace

int main(int argc, char* argv[]) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() != 4 || (arguments[0] != "save" && arguments[0] != "load")) {
    std::cerr << "usage: mpelu_checkpoint_exchange save|load STATE INPUT OUTPUT\n";
    return 2;
  }
  try {
    run(arguments[0], arguments[1], arguments[2], arguments[3]);
  } catch (const c10::Error& error) {
    std::cerr << "mpelu_checkpoint_exchange: " << error.what_without_backtrace() << "\n";
    return 1;
  }
}
