#include <c10/util/StringUtil.h>
#include <mpelu/nn.h>
#include <mpelu/ops.h>
#include <torch/nn/init.h>

#include "ops/optional_tensor.h"
#include "validate.h"

namespace mpelu::nn {

namespace {

/// The options, checked: the base's constructor makes tensors of them.
const BatchNormMPELUOptions& checked(const std::string& name,
                                     const BatchNormMPELUOptions& options) {
  const int64_t channels = options.num_features();
  check_positive(name + ": num_features", channels);
  const int64_t count = options.num_parameters().value_or(channels);
  TORCH_CHECK_VALUE(count == 1 || count == channels, name,
                    ": num_parameters must be 1 or num_features (", channels, "), got ", count);
  check_finite(name + ": alpha", options.alpha());
  if (options.beta()) {
    check_finite(name + ": beta", *options.beta());
  }
  return options;
}

template <typename T>
void print(std::ostream& stream, const char* name, const std::optional<T>& value) {
  stream << ", " << name << "=";
  if (value) {
    stream << *value;
  } else {
    stream << "None";
  }
}

}  // namespace

BatchNormMPELUOptions::BatchNormMPELUOptions(int64_t num_features) : num_features_(num_features) {}

template <size_t D, typename Derived>
BatchNormMPELUImplBase<D, Derived>::BatchNormMPELUImplBase(const BatchNormMPELUOptions& options_)
    : Base(checked(c10::str("BatchNormMPELU", D, "d"), options_)) {
  register_activation();
}

template <size_t D, typename Derived>
at::Tensor BatchNormMPELUImplBase<D, Derived>::forward(const at::Tensor& input) {
  _check_input_dim(input);
  double momentum = this->options.momentum().value_or(0.0);
  if (this->is_training() && this->num_batches_tracked.defined()) {
    this->num_batches_tracked += 1;
    if (!this->options.momentum()) {  // the average of all batches so far
      momentum = 1.0 / this->num_batches_tracked.template item<double>();
    }
  }
  const bool use_batch_statistics = this->is_training() || !this->running_mean.defined();
  return std::get<0>(mpelu::batch_norm_mpelu(
      input, as_optional(this->weight), as_optional(this->bias), as_optional(this->running_mean),
      as_optional(this->running_var), alpha, as_optional(beta), use_batch_statistics, momentum,
      this->options.eps()));
}

template <size_t D, typename Derived>
void BatchNormMPELUImplBase<D, Derived>::reset() {
  Base::reset();
  register_activation();
}

template <size_t D, typename Derived>
void BatchNormMPELUImplBase<D, Derived>::reset_parameters() {
  Base::reset_parameters();
  torch::nn::init::constant_(alpha, this->options.alpha());
  if (beta.defined()) {
    torch::nn::init::constant_(beta, *this->options.beta());
  }
}

template <size_t D, typename Derived>
void BatchNormMPELUImplBase<D, Derived>::pretty_print(std::ostream& stream) const {
  const auto& options = this->options;
  stream << std::boolalpha << "mpelu::nn::BatchNormMPELU" << D << "d(" << options.num_features()
         << ", alpha=" << options.alpha();
  print(stream, "beta", options.beta());
  stream << ", eps=" << options.eps();
  print(stream, "momentum", options.momentum());
  stream << ", affine=" << options.affine()
         << ", track_running_stats=" << options.track_running_stats();
  if (alpha.numel() != options.num_features()) {
    stream << ", num_parameters=" << alpha.numel();
  }
  stream << ")";
}

template <size_t D, typename Derived>
void BatchNormMPELUImplBase<D, Derived>::_check_input_dim(const at::Tensor& input) {
  constexpr int64_t kRank = D + 2;
  const bool fits = input.dim() == kRank || (D == 1 && input.dim() == 2);
  TORCH_CHECK_VALUE(fits, "expected ", D == 1 ? "2D or " : "", kRank, "D input (got ", input.dim(),
                    "D input)");
}

template <size_t D, typename Derived>
void BatchNormMPELUImplBase<D, Derived>::register_activation() {
  const int64_t count = this->options.num_parameters().value_or(this->options.num_features());
  alpha = this->register_parameter("alpha", torch::empty({count}));
  const bool has_beta = this->options.beta().has_value();
  beta = this->register_parameter("beta", has_beta ? torch::empty({count}) : at::Tensor(),
                                  /*requires_grad=*/has_beta);
  reset_parameters();
}

template class BatchNormMPELUImplBase<1, BatchNormMPELU1dImpl>;
template class BatchNormMPELUImplBase<2, BatchNormMPELU2dImpl>;
template class BatchNormMPELUImplBase<3, BatchNormMPELU3dImpl>;

}  // namespace mpelu::nn
