#pragma once

#include "ops/cpu/kernels/stubs.h"

namespace mpelu::cpu {
// Another type or function in each build of this file, as Vectorized itself is.
inline namespace CPU_CAPABILITY {

/// Makes a kernel the build of its stub for the instruction set that its file is compiled for.
template <typename Fn>
struct Build {
  Build(Stub<Fn>& stub, Fn kernel) { stub.add(Capability::CPU_CAPABILITY, kernel); }
};

}  // namespace CPU_CAPABILITY
}  // namespace mpelu::cpu
