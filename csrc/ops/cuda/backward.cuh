#pragma once

#include <algorithm>
#include <cstdint>

#include "ops/cuda/arguments.h"
#include "ops/cuda/backward_columns.cuh"
#include "ops/cuda/backward_finish.cuh"
#include "ops/cuda/backward_rows.cuh"

namespace mpelu::cuda {

template <typename scalar_t, typename param_t, int N, typename Launch>
void launch_sums(const BackwardArguments& arguments, const BackwardPlan& plan,
                 const SumOutput<param_t>& output, Launch& launch) {
  using View = ParameterView<param_t, Arithmetic<scalar_t>>;
  const auto start = [&](auto kernel, const auto& geometry) {
    launch(kernel, plan.blocks(), plan.threads,
           static_cast<const Pack<scalar_t, N>*>(arguments.grad_output),
           static_cast<const Pack<scalar_t, N>*>(arguments.input),
           static_cast<Pack<scalar_t, N>*>(arguments.grad_input), geometry, View(arguments.alpha),
           View(arguments.beta), output);
  };
  if (plan.reduction == BackwardPlan::Reduction::Rows) {
    start(backward_rows_kernel<scalar_t, param_t, N>, RowsGeometry(arguments.layout, plan));
  } else {
    start(backward_columns_kernel<scalar_t, param_t, N>, ColumnsGeometry(arguments.layout, plan));
  }
}

template <typename scalar_t, typename param_t, typename Launch>
void launch_backward(const BackwardArguments& arguments, const BackwardPlan& plan, Launch& launch) {
  const bool has_beta = arguments.grad_beta != nullptr;
  double* const alpha_sums = arguments.workspace;
  double* const beta_sums = alpha_sums && has_beta ? alpha_sums + plan.sums() : nullptr;
  const SumOutput<param_t> output{alpha_sums, beta_sums,
                                  static_cast<param_t*>(arguments.grad_alpha),
                                  static_cast<param_t*>(arguments.grad_beta)};
  if (plan.elements_per_access == 1) {
    launch_sums<scalar_t, param_t, 1>(arguments, plan, output, launch);
  } else {
    launch_sums<scalar_t, param_t, kAccessBytes / sizeof(scalar_t)>(arguments, plan, output,
                                                                    launch);
  }
  if (alpha_sums == nullptr) {
    return;
  }
  const SumInput<param_t> alpha(plan, alpha_sums, arguments.grad_alpha, arguments.alpha.count);
  const SumInput<param_t> beta(plan, beta_sums, arguments.grad_beta, arguments.beta.count);
  const int64_t fewest = has_beta ? std::min(alpha.count, beta.count) : alpha.count;
  launch(backward_finish_kernel<param_t>, int64_t{alpha.count} + beta.count,
         block_threads(plan.sums() / fewest), alpha, beta);
}

}  // namespace mpelu::cuda
