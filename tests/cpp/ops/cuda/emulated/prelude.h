#pragma once

#include <ATen/ATen.h>
#include <torch/library.h>

#include "emulation.h"

// The kernels' hosts register themselves for CUDA: here they take the place of the CPU's.
#define CUDA CPU
