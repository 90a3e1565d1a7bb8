#include <cstdint>

#include <cuda_runtime_api.h>

// The backward as it is first written: one thread an element, and every element's share of the
// parameters' gradients added in memory, in whatever order the threads come.

namespace {

constexpr int kThreads = 256;

__global__ void backward(const float* __restrict__ grad_output, const float* __restrict__ input,
                         const float* __restrict__ alpha, const float* __restrict__ beta,
                         float* __restrict__ grad_input, float* grad_alpha, float* grad_beta,
                         int64_t numel, int64_t channels, int64_t inner) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= numel) {
    return;
  }
  const float g = grad_output[i];
  const float x = input[i];
  if (x > 0) {
    grad_input[i] = g;
    return;
  }
  const int64_t channel = i / inner % channels;
  const float m = expm1f(beta[channel] * x);
  const float slope = alpha[channel] * (m + 1);
  grad_input[i] = g * beta[channel] * slope;
  atomicAdd(grad_alpha + channel, g * m);
  atomicAdd(grad_beta + channel, g * x * slope);
}

}  // namespace

/// Contiguous tensors [numel / (channels inner), channels, inner]; the sums are added to what
/// grad_alpha and grad_beta hold.
extern "C" cudaError_t atomic_backward(const float* grad_output, const float* input,
                                       const float* alpha, const float* beta, float* grad_input,
                                       float* grad_alpha, float* grad_beta, int64_t numel,
                                       int64_t channels, int64_t inner, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>((numel + kThreads - 1) / kThreads);
  backward<<<blocks, kThreads, 0, stream>>>(grad_output, input, alpha, beta, grad_input, grad_alpha,
                                            grad_beta, numel, channels, inner);
  return cudaGetLastError();
}
