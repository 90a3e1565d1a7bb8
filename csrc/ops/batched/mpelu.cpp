#include <torch/library.h>

#include "ops/formula.h"

TORCH_LIBRARY_IMPL(mpelu, FuncTorchBatched, m) {
  m.impl("mpelu", &mpelu::formula::mpelu);
  m.impl("mpelu_", &mpelu::formula::mpelu_);
  m.impl("mpelu_backward", &mpelu::formula::mpelu_backward);
}
