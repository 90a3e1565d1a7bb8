#include "ops/cuda/dispatch.cuh"
#include "ops/cuda/elu_backward.cuh"
#include "ops/cuda/elu_kernels.h"
#include "ops/cuda/launch.cuh"

namespace mpelu::cuda {

cudaError_t elu_backward(const EluBackwardArguments& arguments, cudaStream_t stream) {
  Launch launch{stream};
  dispatch(arguments.dtype, arguments.dtype, [&]<typename scalar_t, typename>() {
    launch_elu_backward<scalar_t>(arguments, launch);
  });
  return launch.error;
}

}  // namespace mpelu::cuda
