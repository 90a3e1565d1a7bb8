#include "ops/cuda/batch_norm.cuh"
#include "ops/cuda/batch_norm_mpelu_kernels.h"
#include "ops/cuda/dispatch.cuh"
#include "ops/cuda/launch.cuh"
#include "ops/cuda/statistics.cuh"

namespace mpelu::cuda {

cudaError_t batch_statistics(const BatchStatisticsArguments& arguments, const Plan& plan,
                             cudaStream_t stream) {
  Launch launch{stream};
  dispatch(arguments.dtype, arguments.dtype, [&]<typename scalar_t, typename>() {
    launch_batch_statistics<scalar_t>(arguments, plan, launch);
  });
  return launch.error;
}

cudaError_t running_statistics(const RunningStatisticsArguments& arguments, cudaStream_t stream) {
  Launch launch{stream};
  dispatch(arguments.dtype, arguments.dtype, [&]<typename stat_t, typename>() {
    launch_running_statistics<stat_t>(arguments, launch);
  });
  return launch.error;
}

cudaError_t batch_norm_mpelu_forward(const BatchNormForwardArguments& arguments,
                                     cudaStream_t stream) {
  Launch launch{stream};
  dispatch(arguments.dtype, arguments.parameter_dtype, [&]<typename scalar_t, typename param_t>() {
    launch_batch_norm_forward<scalar_t, param_t>(arguments, launch);
  });
  return launch.error;
}

cudaError_t batch_norm_mpelu_backward(const BatchNormBackwardArguments& arguments, const Plan& plan,
                                      cudaStream_t stream) {
  Launch launch{stream};
  dispatch(arguments.dtype, arguments.parameter_dtype, [&]<typename scalar_t, typename param_t>() {
    launch_batch_norm_backward<scalar_t, param_t>(arguments, plan, launch);
  });
  return launch.error;
}

}  // namespace mpelu::cuda
