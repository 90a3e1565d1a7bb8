#pragma once

/// What the kernels' hosts take from CUDA's runtime.
using cudaError_t = int;
using cudaStream_t = void*;
