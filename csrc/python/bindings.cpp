#include <ATen/Version.h>
#include <torch/csrc/Exceptions.h>
#include <torch/csrc/utils/pybind.h>
#include <torch/version.h>

#include <optional>
#include <string_view>
#include <utility>

#include "init/fill_weight.h"
#include "ops/evaluation.h"
#include "ops/formula.h"

namespace py = pybind11;

namespace {

using mpelu::init::Distribution;
using Filler = at::Tensor (*)(at::Tensor, double, double, mpelu::init::FanMode,
                              std::optional<at::Generator>);

void fill_weight(const at::Tensor& weight, double slope, std::string_view mode, bool uniform,
                 const std::optional<at::Generator>& generator, int64_t groups) {
  mpelu::init::fill_weight(weight, slope, mpelu::init::parse_fan_mode(mode),
                           uniform ? Distribution::Uniform : Distribution::Normal, generator,
                           groups);
}

/// Exposes an in-place initialiser, with the fan mode by its name. Filling releases the GIL.
void def_filler(py::module_& module, const char* name, Filler fill) {
  module.def(name,
             torch::wrap_pybind_function_no_gil([fill](at::Tensor tensor, double alpha, double beta,
                                                       std::string_view mode,
                                                       std::optional<at::Generator> generator) {
               return fill(std::move(tensor), alpha, beta, mpelu::init::parse_fan_mode(mode),
                           std::move(generator));
             }),
             py::arg("tensor"), py::arg("alpha") = 1.0, py::arg("beta") = 1.0,
             py::arg("mode") = "fan_in", py::arg("generator") = py::none());
}

/// The operators' formulas, by the operators' names.
void def_formulas(py::module_ module) {
  namespace formula = mpelu::formula;
  using torch::wrap_pybind_function;
  module.def("elu", wrap_pybind_function(formula::elu), py::arg("input"), py::arg("alpha") = 1.0);
  module.def("elu_backward", wrap_pybind_function(formula::elu_backward), py::arg("grad_output"),
             py::arg("input_or_output"), py::arg("alpha") = 1.0, py::arg("is_result") = false);
  module.def("mpelu", wrap_pybind_function(formula::mpelu), py::arg("input"), py::arg("alpha"),
             py::arg("beta") = py::none(), py::arg("dim") = 1);
  module.def("mpelu_backward", wrap_pybind_function(formula::mpelu_backward),
             py::arg("grad_output"), py::arg("input"), py::arg("alpha"),
             py::arg("beta") = py::none(), py::arg("dim") = 1);
  module.def("batch_norm_mpelu_evaluation",
             wrap_pybind_function(mpelu::in_evaluation<&formula::batch_norm_mpelu>));
  module.def("batch_norm_mpelu_backward", wrap_pybind_function(formula::batch_norm_mpelu_backward));
}

#if defined(__clang__)
constexpr const char* kCompiler = "clang " __clang_version__;
#else
constexpr const char* kCompiler = "gcc " __VERSION__;
#endif

py::dict build_info() {
  py::dict info;
  info["version"] = MPELU_VERSION;
  info["torch"] = TORCH_VERSION;
  info["compiler"] = kCompiler;
  info["cpu_capability"] = at::get_cpu_capability();
#ifdef MPELU_CUDA_VERSION
  info["cuda"] = MPELU_CUDA_VERSION;
  info["cuda_architectures"] = MPELU_CUDA_ARCHITECTURES;
#else
  info["cuda"] = py::none();
  info["cuda_architectures"] = py::none();
#endif
  return info;
}

}  // namespace

PYBIND11_MODULE(TORCH_EXTENSION_NAME, module) {
  module.doc() =
      "What of libmpelu is not a torch operator: initialisation, the operators' formulas and build "
      "information.";
  def_filler(module, "taylor_normal_", mpelu::init::taylor_normal_);
  def_filler(module, "taylor_uniform_", mpelu::init::taylor_uniform_);
  module.def("fill_weight", torch::wrap_pybind_function_no_gil(fill_weight));
  def_formulas(module.def_submodule("formula", "The operators in those of ATen."));
  module.def("build_info", &build_info);
}
