#include <cmath>
#include <utility>

#include <ATen/core/grad_mode.h>
#include <c10/util/accumulate.h>

#include "init/fill_weight.h"
#include "validate.h"

namespace mpelu::init {

void fill_weight(const at::Tensor& weight, double slope, FanMode mode, Distribution distribution,
                 const std::optional<at::Generator>& generator, int64_t groups) {
  TORCH_CHECK_VALUE(at::isFloatingType(weight.scalar_type()), "tensor must be floating point, got ",
                    weight.scalar_type());
  auto shape = weight.sizes().vec();
  if (groups > 1) {
    shape[0] /= groups;
  }
  const double fan = calculate_fan(shape, mode);
  if (weight.numel() == 0) {
    return;
  }
  const at::NoGradGuard no_grad;
  const double deviation = taylor_std(fan, slope, 1);
  if (distribution == Distribution::Normal) {
    weight.normal_(0, deviation, generator);
  } else {
    const double bound = std::sqrt(3.0) * deviation;
    weight.uniform_(-bound, bound, generator);
  }
}

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
  const double slope = finite_slope(alpha, beta);
  return std::sqrt(2 / (n * (1 + slope * slope)));
}

at::Tensor taylor_normal_(at::Tensor tensor, double alpha, double beta, FanMode mode,
                          std::optional<at::Generator> generator) {
  fill_weight(tensor, finite_slope(alpha, beta), mode, Distribution::Normal, generator, 1);
  return tensor;
}

at::Tensor taylor_uniform_(at::Tensor tensor, double alpha, double beta, FanMode mode,
                           std::optional<at::Generator> generator) {
  fill_weight(tensor, finite_slope(alpha, beta), mode, Distribution::Uniform, generator, 1);
  return tensor;
}

}  // namespace mpelu::init
