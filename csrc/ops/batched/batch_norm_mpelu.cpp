#include <torch/library.h>

#include "ops/evaluation.h"
#include "ops/formula.h"

TORCH_LIBRARY_IMPL(mpelu, FuncTorchBatched, m) {
  m.impl("batch_norm_mpelu", &mpelu::formula::batch_norm_mpelu);
  m.impl("batch_norm_mpelu_evaluation", &mpelu::in_evaluation<&mpelu::formula::batch_norm_mpelu>);
  m.impl("batch_norm_mpelu_backward", &mpelu::formula::batch_norm_mpelu_backward);
}
