# Defines mpelu_openmp: OpenMP with the runtime that torch itself runs on.
#
# at::parallel_for runs on one thread in code compiled without OpenMP, and a second runtime in the
# process would start a second pool of threads. So the headers and flags are the compiler's, and the
# library is the copy that torch brings, if it brings one.

find_package(OpenMP REQUIRED COMPONENTS CXX)

file(GLOB torch_gomp "${MPELU_TORCH_ROOT}/lib/libgomp*.so*"
     "${MPELU_TORCH_ROOT}/../torch.libs/libgomp*.so*")

add_library(mpelu_openmp INTERFACE)
if(torch_gomp AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  list(GET torch_gomp 0 torch_gomp)
  target_compile_options(mpelu_openmp INTERFACE $<$<COMPILE_LANGUAGE:CXX>:${OpenMP_CXX_FLAGS}>)
  target_link_libraries(mpelu_openmp INTERFACE "${torch_gomp}")
else()
  target_link_libraries(mpelu_openmp INTERFACE OpenMP::OpenMP_CXX)
endif()
