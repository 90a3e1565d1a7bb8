#include <torch/library.h>

#include "ops/formula.h"

TORCH_LIBRARY_IMPL(mpelu, FuncTorchBatched, m) {
  m.impl("elu", &mpelu::formula::elu);
  m.impl("elu_", &mpelu::formula::elu_);
  m.impl("elu_backward", &mpelu::formula::elu_backward);
}
