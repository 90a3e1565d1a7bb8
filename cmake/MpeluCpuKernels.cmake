# mpelu_add_cpu_kernels(<target> <source>...)
#
# Compiles each source once per CPU capability, as ATen does with its own kernels, and links the
# objects into the target. The stubs of the kernels (stubs.h) pick one of them when the program runs.
#
# Of an inline function that several objects carry, the linker keeps the first, and that must be one
# that every processor can run. So the order of the link is the target's own objects, DEFAULT, AVX2,
# AVX512: the objects are link items, which follow the target's own, and not its sources.
#
# Also sets MPELU_CPU_CAPABILITIES, and defines for each the target mpelu_cpu_<capability>, which
# holds the flags.

set(MPELU_CPU_CAPABILITIES DEFAULT)
set(flags_DEFAULT "")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
  list(APPEND MPELU_CPU_CAPABILITIES AVX2 AVX512)
  set(flags_AVX2 -mavx2 -mfma -mf16c)
  set(flags_AVX512 -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma -mf16c)
endif()

# GCC is to interleave what vectors side by side compute, before it assigns registers. One after the
# other they would wait for their own results, longer than a processor looks ahead: up to a tenth of
# the time (Zen 4). It may not move a prefetch over the branch that decides on it. Where there are 16
# registers, and not 32, it is to mind their number; that makes it interleave less.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  set(interleave -fschedule-insns -fno-sched-interblock)
  foreach(capability IN ITEMS DEFAULT AVX2)
    list(APPEND flags_${capability} -fsched-pressure)
  endforeach()
endif()

# GCC warns of its own AVX-512 header (PR105593), and notes that vectors are passed as since GCC 4.6.
set(quiet -Wno-uninitialized -Wno-maybe-uninitialized -Wno-psabi)

# The formulas say where they multiply and add in one rounding. A compiler that did so elsewhere, as
# it sees fit in each place where they are inlined, would make one sum differ between two loops.
set(contract -ffp-contract=off)

foreach(capability IN LISTS MPELU_CPU_CAPABILITIES)
  add_library(mpelu_cpu_${capability} INTERFACE)
  target_compile_options(
    mpelu_cpu_${capability} INTERFACE ${flags_${capability}} ${interleave} ${contract} ${quiet})
  target_compile_definitions(
    mpelu_cpu_${capability} INTERFACE CPU_CAPABILITY=${capability} CPU_CAPABILITY_${capability})
endforeach()

function(mpelu_add_cpu_kernels target)
  foreach(capability IN LISTS MPELU_CPU_CAPABILITIES)
    set(kernels ${target}_kernels_${capability})
    add_library(${kernels} OBJECT ${ARGN})
    foreach(property IN ITEMS COMPILE_DEFINITIONS COMPILE_OPTIONS INCLUDE_DIRECTORIES)
      set_target_properties(
        ${kernels} PROPERTIES ${property} "$<TARGET_PROPERTY:${target},${property}>")
    endforeach()
    target_link_libraries(
      ${kernels} PRIVATE mpelu_cpu_${capability} mpelu::torch mpelu_openmp)
    target_link_libraries(${target} PRIVATE $<TARGET_OBJECTS:${kernels}>)
  endforeach()
endfunction()
