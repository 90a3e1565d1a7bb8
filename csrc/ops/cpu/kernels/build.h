#pragma once

#include "ops/cpu/kernels/stubs.h"

namespace mpelu::cpu {
// Another type or function in each build of this file, as Vectorized itself is.
inline namespace CPU_CAPABILITY {

/// Makes a kernel the build of its stub for the instruction set that its file is compiled for.
template <typename Fn>
struct Build {
  Build(Stub<Fn>& stub, Fn kernel) {
#if defined(CPU_CAPABILITY_AVX512)
    stub.add(Capability::kAvx512, kernel);
#elif defined(CPU_CAPABILITY_AVX2)
    stub.add(Capability::kAvx2, kernel);
#else
    stub.add(Capability::kDefault, kernel);
#endif
  }
};

}  // namespace CPU_CAPABILITY
}  // namespace mpelu::cpu
