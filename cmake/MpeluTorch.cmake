# Defines the imported target mpelu::torch: PyTorch's headers and libraries.
#
# find_package(Torch) is not used: PyPI's torch is a CUDA build, and its config file stops the
# configuration on a machine without a CUDA toolkit, which is all that a CPU build runs on.
#
# Where torch is looked for, first to last:
#   TORCH_INSTALL_PREFIX   a CMake or environment variable
#   the target `torch`     where the project has called find_package(Torch) itself
#   Torch_DIR, CMAKE_PREFIX_PATH (torch.utils.cmake_prefix_path, or the folder of torch)
#   MPELU_TORCH_HINTS      folders that the including file knows of
#
# Sets MPELU_TORCH_ROOT, MPELU_TORCH_VERSION (2.15.0) and MPELU_TORCH_CUDA_VERSION (13.2, or empty).

function(_mpelu_torch_candidates out)
  set(candidates ${TORCH_INSTALL_PREFIX} $ENV{TORCH_INSTALL_PREFIX})
  if(TARGET torch)
    get_target_property(includes torch INTERFACE_INCLUDE_DIRECTORIES)
    foreach(include IN LISTS includes)
      cmake_path(GET include PARENT_PATH root)
      list(APPEND candidates "${root}")
    endforeach()
  endif()
  if(Torch_DIR)
    list(APPEND candidates "${Torch_DIR}/../../..")
  endif()
  cmake_path(CONVERT "$ENV{CMAKE_PREFIX_PATH}" TO_CMAKE_PATH_LIST environment_prefixes)
  foreach(prefix IN LISTS CMAKE_PREFIX_PATH environment_prefixes)
    list(APPEND candidates "${prefix}" "${prefix}/../..")
  endforeach()
  set(${out} ${candidates} ${MPELU_TORCH_HINTS} PARENT_SCOPE)
endfunction()

function(_mpelu_find_torch_root out)
  _mpelu_torch_candidates(candidates)
  foreach(candidate IN LISTS candidates)
    if(EXISTS "${candidate}/include/ATen/ATen.h" AND EXISTS "${candidate}/lib/libtorch.so")
      file(REAL_PATH "${candidate}" root)
      set(${out} "${root}" PARENT_SCOPE)
      return()
    endif()
  endforeach()
  set(${out} "" PARENT_SCOPE)
endfunction()

function(_mpelu_read_torch_version root out)
  file(STRINGS "${root}/include/torch/headeronly/version.h" lines
       REGEX "define TORCH_VERSION_(MAJOR|MINOR|PATCH) ")
  list(TRANSFORM lines REPLACE "[^0-9]" "")
  list(JOIN lines "." version)
  set(${out} "${version}" PARENT_SCOPE)
endfunction()

# The wheel says it in version.py; libtorch's archive in the local part of its version: 2.15.0+cu132.
function(_mpelu_read_torch_cuda_version root out)
  set(version "")
  if(EXISTS "${root}/version.py")
    file(READ "${root}/version.py" text)
    if(text MATCHES "cuda[^\n]*= '([0-9.]+)'")
      set(version "${CMAKE_MATCH_1}")
    endif()
  elseif(EXISTS "${root}/build-version")
    file(READ "${root}/build-version" text)
    if(text MATCHES "\\+cu([0-9]+)([0-9])")
      set(version "${CMAKE_MATCH_1}.${CMAKE_MATCH_2}")
    endif()
  endif()
  set(${out} "${version}" PARENT_SCOPE)
endfunction()

function(_mpelu_define_torch_target root)
  add_library(mpelu::torch INTERFACE IMPORTED)
  target_include_directories(
    mpelu::torch SYSTEM INTERFACE "${root}/include" "${root}/include/torch/csrc/api/include")
  target_compile_features(mpelu::torch INTERFACE cxx_std_20)
  target_compile_definitions(mpelu::torch INTERFACE _GLIBCXX_USE_CXX11_ABI=1)
  foreach(name IN ITEMS torch torch_cpu c10)
    target_link_libraries(mpelu::torch INTERFACE "${root}/lib/lib${name}.so")
  endforeach()

  # No program calls libtorch.so or libmpelu.so's registrations by name: a linker that drops what is
  # not called (Ubuntu's default) would drop the CUDA backend and the ops.
  target_link_options(mpelu::torch INTERFACE "LINKER:--no-as-needed")

  # Where the linker finds what torch's libraries need in turn (CUDA's libraries, in the wheel).
  file(GLOB dependency_folders "${root}/lib" "${root}/../nvidia/*/lib")
  list(TRANSFORM dependency_folders PREPEND "LINKER:-rpath-link,")
  target_link_options(mpelu::torch INTERFACE ${dependency_folders})
endfunction()

_mpelu_find_torch_root(MPELU_TORCH_ROOT)
if(MPELU_TORCH_ROOT)
  _mpelu_read_torch_version("${MPELU_TORCH_ROOT}" MPELU_TORCH_VERSION)
  _mpelu_read_torch_cuda_version("${MPELU_TORCH_ROOT}" MPELU_TORCH_CUDA_VERSION)
  if(NOT TARGET mpelu::torch)
    _mpelu_define_torch_target("${MPELU_TORCH_ROOT}")
  endif()
endif()
