#include <torch/library.h>

// Every operator of the library, once.
TORCH_LIBRARY(mpelu, m) {
  const std::vector<at::Tag> tags = {at::Tag::pt2_compliant_tag};

  m.def("elu(Tensor input, float alpha=1.0) -> Tensor", tags);
  m.def("elu_(Tensor(a!) input, float alpha=1.0) -> Tensor(a!)", tags);
  m.def(
      "elu_backward(Tensor grad_output, Tensor input_or_output, float alpha=1.0, "
      "bool is_result=False) -> Tensor",
      tags);

  m.def("mpelu(Tensor input, Tensor alpha, Tensor? beta=None, int dim=1) -> Tensor", tags);
  m.def("mpelu_(Tensor(a!) input, Tensor alpha, Tensor? beta=None, int dim=1) -> Tensor(a!)", tags);
  m.def(
      "mpelu_backward(Tensor grad_output, Tensor input, Tensor alpha, Tensor? beta=None, int "
      "dim=1) "
      "-> (Tensor grad_input, Tensor grad_alpha, Tensor grad_beta)",
      tags);

  m.def(
      "batch_norm_mpelu(Tensor input, Tensor? weight, Tensor? bias, Tensor(a!)? running_mean, "
      "Tensor(b!)? running_var, Tensor alpha, Tensor? beta, bool training, float momentum, float "
      "eps) -> (Tensor output, Tensor save_mean, Tensor save_invstd)",
      tags);
  // The same where training is False, of which no transform need think that it writes something.
  m.def(
      "batch_norm_mpelu_evaluation(Tensor input, Tensor? weight, Tensor? bias, "
      "Tensor running_mean, Tensor running_var, Tensor alpha, Tensor? beta, float eps) "
      "-> (Tensor output, Tensor save_mean, Tensor save_invstd)",
      tags);
  m.def(
      "batch_norm_mpelu_backward(Tensor grad_output, Tensor input, Tensor? weight, Tensor? bias, "
      "Tensor save_mean, Tensor save_invstd, Tensor alpha, Tensor? beta, bool training, float eps) "
      "-> (Tensor grad_input, Tensor grad_weight, Tensor grad_bias, Tensor grad_alpha, Tensor "
      "grad_beta)",
      tags);
}
