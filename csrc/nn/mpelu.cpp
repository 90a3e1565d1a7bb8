#include <mpelu/nn.h>
#include <mpelu/ops.h>
#include <torch/nn/init.h>

#include "validate.h"

namespace mpelu::nn {

MPELUOptions::MPELUOptions(int64_t num_parameters) : num_parameters_(num_parameters) {}

MPELUImpl::MPELUImpl(const MPELUOptions& options_) : options(options_) {
  check_positive("MPELU: num_parameters", options.num_parameters());
  check_finite("MPELU: alpha", options.alpha());
  check_finite("MPELU: beta", options.beta());
  MPELUImpl::reset();
}

at::Tensor MPELUImpl::forward(const at::Tensor& input) {
  return mpelu::mpelu(input, alpha, beta, options.dim());
}

void MPELUImpl::reset() {
  alpha = register_parameter("alpha", torch::empty({options.num_parameters()}));
  beta = register_parameter("beta", torch::empty({options.num_parameters()}));
  reset_parameters();
}

void MPELUImpl::reset_parameters() {
  torch::nn::init::constant_(alpha, options.alpha());
  torch::nn::init::constant_(beta, options.beta());
}

void MPELUImpl::pretty_print(std::ostream& stream) const {
  stream << "mpelu::nn::MPELU(num_parameters=" << options.num_parameters()
         << ", alpha=" << options.alpha() << ", beta=" << options.beta()
         << ", dim=" << options.dim() << ")";
}

}  // namespace mpelu::nn
