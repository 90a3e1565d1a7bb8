#pragma once

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

/// The ordinary conversions of element.cuh do for torch's own half types.
using __half = c10::Half;
using __nv_bfloat16 = c10::BFloat16;
