#include "ops/cuda/backward.cuh"
#include "ops/cuda/dispatch.cuh"
#include "ops/cuda/forward.cuh"
#include "ops/cuda/launch.cuh"
#include "ops/cuda/mpelu_kernels.h"

namespace mpelu::cuda {

cudaError_t mpelu_forward(const ForwardArguments& arguments, cudaStream_t stream) {
  Launch launch{stream};
  dispatch(arguments.dtype, arguments.parameter_dtype, [&]<typename scalar_t, typename param_t>() {
    launch_forward<scalar_t, param_t>(arguments, launch);
  });
  return launch.error;
}

cudaError_t mpelu_backward(const BackwardArguments& arguments, const Plan& plan,
                           cudaStream_t stream) {
  Launch launch{stream};
  dispatch(arguments.dtype, arguments.parameter_dtype, [&]<typename scalar_t, typename param_t>() {
    launch_backward<scalar_t, param_t>(arguments, plan, launch);
  });
  return launch.error;
}

}  // namespace mpelu::cuda
