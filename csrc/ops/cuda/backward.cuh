#pragma once

#include <cstdint>

#include "math/mpelu.h"
#include "ops/cuda/arguments.h"
#include "ops/cuda/backward_columns.cuh"
#include "ops/cuda/backward_finish.cuh"
#include "ops/cuda/backward_rows.cuh"
#include "ops/cuda/element.cuh"
#include "ops/cuda/reduce.cuh"

namespace mpelu::cuda {

/// Where a kernel's sums go: to the gradients where there is one sum per parameter, else to the
/// workspace, as [splits, columns] for alpha and the same for beta, which may have no gradient.
template <typename param_t>
struct SumOutput {
  double* workspace;
  int64_t sums;
  param_t* grad_alpha;
  param_t* grad_beta;

  double* alpha_sums() const { return workspace; }
  double* beta_sums() const { return workspace + sums; }

  template <typename V>
  __device__ void store(int64_t place, const Sums<double>& totals,
                        const math::Channel<V>& channel) const {
    const auto gradients = math::parameter_gradients(totals, channel.alpha);
    if (workspace != nullptr) {
      workspace[place] = gradients.alpha;
      if (grad_beta != nullptr) {
        workspace[sums + place] = gradients.beta;
      }
      return;
    }
    grad_alpha[place] = narrow<param_t>(gradients.alpha);
    if (grad_beta != nullptr) {
      grad_beta[place] = narrow<param_t>(gradients.beta);
    }
  }
};

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
  const SumOutput<param_t> output{arguments.workspace, plan.sums(),
                                  static_cast<param_t*>(arguments.grad_alpha),
                                  static_cast<param_t*>(arguments.grad_beta)};
  const ActivationView<param_t, Arithmetic<scalar_t>> view(arguments.alpha, arguments.beta);
  if (plan.elements_per_access == 1) {
    launch_sums<scalar_t, 1, 1>(arguments.tensors, plan, view, output, launch);
  } else {
    launch_sums<scalar_t, kWidest<scalar_t>, kWidest<scalar_t>>(arguments.tensors, plan, view,
                                                                output, launch);
  }
  if (output.workspace != nullptr) {
    using Sums = ParameterSums<param_t>;
    const Sums alpha(plan, output.alpha_sums(), arguments.alpha.count, output.grad_alpha);
    const Sums beta(plan, output.beta_sums(), arguments.beta.count, output.grad_beta);
    launch_finish(AllSums<param_t, 2>{{alpha, beta}}, plan, launch);
  }
}

}  // namespace mpelu::cuda
