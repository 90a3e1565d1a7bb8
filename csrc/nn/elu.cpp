#include <mpelu/nn.h>
#include <mpelu/ops.h>

#include "validate.h"

namespace mpelu::nn {

ELUOptions::ELUOptions(double alpha) : alpha_(alpha) {}

ELUImpl::ELUImpl(const ELUOptions& options_) : options(options_) {
  check_finite("ELU: alpha", options.alpha());
  TORCH_CHECK_VALUE(!options.inplace() || options.alpha() >= 0,
                    "ELU: alpha must be >= 0 where inplace is true, got ", options.alpha());
}

at::Tensor ELUImpl::forward(at::Tensor input) {
  return options.inplace() ? mpelu::elu_(input, options.alpha())
                           : mpelu::elu(input, options.alpha());
}

void ELUImpl::reset() {}

void ELUImpl::pretty_print(std::ostream& stream) const {
  stream << "mpelu::nn::ELU(alpha=" << options.alpha();
  if (options.inplace()) {
    stream << ", inplace=true";
  }
  stream << ")";
}

}  // namespace mpelu::nn
