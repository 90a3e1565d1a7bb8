#pragma once

#include <cstdint>

#include "ops/cuda/arguments.h"
#include "ops/cuda/backward_columns.cuh"
#include "ops/cuda/backward_finish.cuh"
#include "ops/cuda/backward_rows.cuh"

namespace mpelu::cuda {

/// kRows and kColumns are the elements of an access in either kind of plan.
template <typename scalar_t, int kRows, int kColumns, typename View, typename Output,
          typename Launch>
void launch_sums(const BackwardTensors& tensors, const Plan& plan, const View& view,
                 const Output& output, Launch& launch) {
  const auto start = [&]<int N, typename... Rest>(void (*kernel)(const Pack<scalar_t, N>*, Rest...),
                                                  const auto& geometry) {
    launch(kernel, plan.blocks(), plan.threads,
           static_cast<const Pack<scalar_t, N>*>(tensors.grad_output),
           static_cast<const Pack<scalar_t, N>*>(tensors.input),
           static_cast<Pack<scalar_t, N>*>(tensors.grad_input), geometry, view, output);
  };
  if (plan.reduction == Plan::Reduction::Rows) {
    start(backward_rows_kernel<scalar_t, View, Output, kRows>, RowsGeometry(tensors.layout, plan));
  } else {
    start(backward_columns_kernel<scalar_t, View, Output, kColumns>,
          ColumnsGeometry(tensors.layout, plan));
  }
}

template <typename param_t, int K, typename Launch>
void launch_finish(const AllSums<param_t, K>& all, const Plan& plan, Launch& launch) {
  const int threads = threads_for(plan.sums() / all.fewest_wanted(), 1);
  const int elements = results_of_block(threads);
  launch(backward_finish_kernel<param_t, K>, ceil_divide(all.wanted(), elements),
         elements * threads, all, elements);
}

template <typename scalar_t, typename param_t, typename Launch>
void launch_backward(const BackwardArguments& arguments, const Plan& plan, Launch& launch) {
  const bool has_beta = arguments.grad_beta != nullptr;
  double* const alpha_sums = arguments.workspace;
  double* const beta_sums = alpha_sums && has_beta ? alpha_sums + plan.sums() : nullptr;
  const SumOutput<param_t> output{alpha_sums, beta_sums,
                                  static_cast<param_t*>(arguments.grad_alpha),
                                  static_cast<param_t*>(arguments.grad_beta)};
  const ActivationView<param_t, Arithmetic<scalar_t>> view(arguments.alpha, arguments.beta);
  if (plan.elements_per_access == 1) {
    launch_sums<scalar_t, 1, 1>(arguments.tensors, plan, view, output, launch);
  } else {
    launch_sums<scalar_t, kWidest<scalar_t>, kWidest<scalar_t>>(arguments.tensors, plan, view,
                                                                output, launch);
  }
  if (alpha_sums == nullptr) {
    return;
  }
  const ParameterSums<param_t> alpha(plan, alpha_sums, arguments.alpha.count, arguments.grad_alpha);
  const ParameterSums<param_t> beta(plan, beta_sums, arguments.beta.count, arguments.grad_beta);
  launch_finish(AllSums<param_t, 2>{{alpha, beta}}, plan, launch);
}

}  // namespace mpelu::cuda
