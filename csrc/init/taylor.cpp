#include <cmath>
#include <utility>

#include <ATen/core/grad_mode.h>
#include <c10/util/accumulate.h>
#include <mpelu/init.h>

#include "validate.h"

namespace mpelu::init {

namespace {

/// Calls fill(std) with the standard deviation for the tensor's shape, unless the tensor is empty.
template <typename Fill>
void fill_by_std(const at::Tensor& tensor, double alpha, double beta, FanMode mode,
                 const Fill& fill) {
  TORCH_CHECK_VALUE(at::isFloatingType(tensor.scalar_type()), "tensor must be floating point, got ",
                    tensor.scalar_type());
  const double fan = calculate_fan(tensor.sizes(), mode);
  if (tensor.numel() == 0) {
    return;
  }
  const at::NoGradGuard no_grad;
  fill(taylor_std(fan, alpha, beta));
}

}  // namespace

FanMode parse_fan_mode(std::string_view mode) {
  static constexpr std::pair<std::string_view, FanMode> kModes[] = {
      {"fan_in", FanMode::FanIn}, {"fan_out", FanMode::FanOut}, {"fan_avg", FanMode::FanAvg}};
  for (const auto& [name, value] : kModes) {
    if (name == mode) {
      return value;
    }
  }
  TORCH_CHECK_VALUE(false, "mode must be fan_in, fan_out or fan_avg, got '", mode, "'");
}

double calculate_fan(at::IntArrayRef weight_shape, FanMode mode) {
  TORCH_CHECK_VALUE(weight_shape.size() >= 2,
                    "a fan needs a weight of at least 2 dimensions, got shape ", weight_shape);
  const auto kernel = static_cast<double>(c10::multiply_integers(weight_shape.slice(2)));
  const double fan_in = kernel * static_cast<double>(weight_shape[1]);
  const double fan_out = kernel * static_cast<double>(weight_shape[0]);
  switch (mode) {
    case FanMode::FanIn:
      return fan_in;
    case FanMode::FanOut:
      return fan_out;
    case FanMode::FanAvg:
      return (fan_in + fan_out) / 2;
  }
  TORCH_INTERNAL_ASSERT(false, "not a FanMode: ", static_cast<int>(mode));
}

double taylor_std(double n, double alpha, double beta) {
  TORCH_CHECK_VALUE(n > 0, "n must be > 0, got ", n);
  check_finite("alpha", alpha);
  check_finite("beta", beta);
  const double slope = alpha * beta;
  return std::sqrt(2 / (n * (1 + slope * slope)));
}

at::Tensor taylor_normal_(at::Tensor tensor, double alpha, double beta, FanMode mode,
                          std::optional<at::Generator> generator) {
  fill_by_std(tensor, alpha, beta, mode,
              [&](double std) { tensor.normal_(0, std, std::move(generator)); });
  return tensor;
}

at::Tensor taylor_uniform_(at::Tensor tensor, double alpha, double beta, FanMode mode,
                           std::optional<at::Generator> generator) {
  fill_by_std(tensor, alpha, beta, mode, [&](double std) {
    const double bound = std::sqrt(3.0) * std;
    tensor.uniform_(-bound, bound, std::move(generator));
  });
  return tensor;
}

}  // namespace mpelu::init
