#include <mpelu/nn.h>
#include <mpelu/ops.h>
#include <torch/nn/init.h>

#include "validate.h"

namespace mpelu::nn {

SPELUOptions::SPELUOptions(int64_t num_parameters) : num_parameters_(num_parameters) {}

SPELUImpl::SPELUImpl(const SPELUOptions& options_) : options(options_) {
  check_positive("SPELU: num_parameters", options.num_parameters());
  check_finite("SPELU: alpha", options.alpha());
  SPELUImpl::reset();
}

at::Tensor SPELUImpl::forward(const at::Tensor& input) {
  return mpelu::spelu(input, alpha, options.dim());
}

void SPELUImpl::reset() {
  alpha = register_parameter("alpha", torch::empty({options.num_parameters()}));
  reset_parameters();
}

void SPELUImpl::reset_parameters() { torch::nn::init::constant_(alpha, options.alpha()); }

void SPELUImpl::pretty_print(std::ostream& stream) const {
  stream << "mpelu::nn::SPELU(num_parameters=" << options.num_parameters()
         << ", alpha=" << options.alpha() << ", dim=" << options.dim() << ")";
}

}  // namespace mpelu::nn
