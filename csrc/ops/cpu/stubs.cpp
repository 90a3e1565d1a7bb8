#include "ops/cpu/kernels/stubs.h"

#include <ATen/Version.h>

#include <string>

namespace mpelu::cpu {

Capability capability() {
  static const Capability chosen = [] {
    const std::string name = at::get_cpu_capability();
    if (name.starts_with("AVX512")) {
      return Capability::AVX512;
    }
    return name == "AVX2" ? Capability::AVX2 : Capability::DEFAULT;
  }();
  return chosen;
}

}  // namespace mpelu::cpu
