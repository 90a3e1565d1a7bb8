# Decides whether the CUDA kernels are built, and with which nvcc.
#
# MPELU_CUDA = on | off | auto. auto builds them where torch is a CUDA build and an nvcc of the same
# major version is found (CMAKE_CUDA_COMPILER, CUDACXX, CUDA_HOME, PATH, pip's nvidia-cuda-nvcc
# beside torch, the usual folder); on makes a missing one an error.
#
# Sets MPELU_WITH_CUDA and, with it, enables the CUDA language, sets CMAKE_CUDA_ARCHITECTURES (from
# TORCH_CUDA_ARCH_LIST, as torch's own extensions do) and, in that list's spelling,
# MPELU_CUDA_ARCHITECTURES, defines mpelu_cudart, and sets MPELU_CUDART_FOLDERS to where torch has
# that library, as seen from the folder that torch lies in.

set(MPELU_CUDA "auto" CACHE STRING "build the CUDA kernels: on, off or auto")
set_property(CACHE MPELU_CUDA PROPERTY STRINGS on off auto)
string(TOLOWER "${MPELU_CUDA}" MPELU_CUDA)
if(NOT MPELU_CUDA MATCHES "^(on|off|auto)$")
  message(FATAL_ERROR "MPELU_CUDA must be on, off or auto, got '${MPELU_CUDA}'.")
endif()

function(_mpelu_nvcc_candidates out)
  set(candidates ${CMAKE_CUDA_COMPILER} $ENV{CUDACXX})
  foreach(home IN ITEMS "$ENV{CUDA_HOME}" "$ENV{CUDA_PATH}")
    if(home)
      list(APPEND candidates "${home}/bin/nvcc")
    endif()
  endforeach()
  find_program(path_nvcc nvcc NO_CACHE)
  if(path_nvcc)
    list(APPEND candidates "${path_nvcc}")
  endif()
  file(GLOB pip_nvcc "${MPELU_TORCH_ROOT}/../nvidia/cu*/bin/nvcc")
  set(${out} ${candidates} ${pip_nvcc} /usr/local/cuda/bin/nvcc PARENT_SCOPE)
endfunction()

# Sets `out` to the first nvcc of torch's CUDA major version, else to nothing and `why` to a reason.
function(_mpelu_find_nvcc out why)
  set(${out} "" PARENT_SCOPE)
  if(NOT MPELU_TORCH_CUDA_VERSION)
    set(${why} "torch ${MPELU_TORCH_VERSION} is a build without CUDA" PARENT_SCOPE)
    return()
  endif()
  string(REGEX MATCH "^[0-9]+" wanted "${MPELU_TORCH_CUDA_VERSION}")

  set(reason "there is no nvcc")
  _mpelu_nvcc_candidates(candidates)
  foreach(candidate IN LISTS candidates)
    execute_process(
      COMMAND "${candidate}" --version OUTPUT_VARIABLE text ERROR_QUIET RESULT_VARIABLE status)
    if(status EQUAL 0 AND text MATCHES "release ([0-9]+)\\.([0-9]+)")
      if(CMAKE_MATCH_1 EQUAL wanted)
        set(${out} "${candidate}" PARENT_SCOPE)
        return()
      endif()
      set(reason "${candidate} is of CUDA ${CMAKE_MATCH_1}.${CMAKE_MATCH_2}, \
and torch ${MPELU_TORCH_VERSION} of CUDA ${MPELU_TORCH_CUDA_VERSION}")
    endif()
  endforeach()
  set(${why} "${reason}" PARENT_SCOPE)
endfunction()

# "7.5;8.0 9.0+PTX" -> 75-real;80-real;90
function(_mpelu_cuda_architectures out arch_list)
  string(REGEX REPLACE "[ ,;]+" ";" arch_list "${arch_list}")
  set(architectures "")
  foreach(arch IN LISTS arch_list)
    if(NOT arch MATCHES "^([0-9]+)\\.([0-9])([af]?)(\\+PTX)?$")
      message(FATAL_ERROR "TORCH_CUDA_ARCH_LIST holds '${arch}', "
                          "which is not a compute capability such as 8.0 or 9.0+PTX.")
    endif()
    set(number "${CMAKE_MATCH_1}${CMAKE_MATCH_2}${CMAKE_MATCH_3}")
    if(CMAKE_MATCH_4)
      list(APPEND architectures "${number}")
    else()
      list(APPEND architectures "${number}-real")
    endif()
  endforeach()
  set(${out} "${architectures}" PARENT_SCOPE)
endfunction()

set(MPELU_WITH_CUDA OFF)
if(MPELU_CUDA STREQUAL "off")
  message(STATUS "mpelu: CPU only (MPELU_CUDA=off)")
else()
  _mpelu_find_nvcc(nvcc reason)
  if(nvcc)
    set(MPELU_WITH_CUDA ON)
  elseif(MPELU_CUDA STREQUAL "on")
    message(FATAL_ERROR "MPELU_CUDA=on, but ${reason}.")
  else()
    message(STATUS "mpelu: CPU only (${reason})")
  endif()
endif()

if(MPELU_WITH_CUDA)
  if(TORCH_CUDA_ARCH_LIST)
    set(arch_list "${TORCH_CUDA_ARCH_LIST}")
  elseif(NOT "$ENV{TORCH_CUDA_ARCH_LIST}" STREQUAL "")
    set(arch_list "$ENV{TORCH_CUDA_ARCH_LIST}")
  elseif(MPELU_TORCH_CUDA_VERSION VERSION_LESS 12.8)
    set(arch_list "7.5;8.0;8.6;9.0+PTX")
  else()
    set(arch_list "7.5;8.0;8.6;9.0;10.0;12.0+PTX")
  endif()
  _mpelu_cuda_architectures(CMAKE_CUDA_ARCHITECTURES "${arch_list}")
  list(JOIN arch_list " " MPELU_CUDA_ARCHITECTURES)

  # torch brings its own runtime library; pip's nvcc has no folder of libraries beside it but that.
  string(REGEX MATCH "^[0-9]+" cuda_major "${MPELU_TORCH_CUDA_VERSION}")
  file(GLOB torch_cudart "${MPELU_TORCH_ROOT}/../nvidia/*/lib/libcudart.so.${cuda_major}"
       "${MPELU_TORCH_ROOT}/lib/libcudart*.so.${cuda_major}")
  set(MPELU_CUDART_FOLDERS "")
  foreach(library IN LISTS torch_cudart)
    cmake_path(GET library PARENT_PATH folder)
    string(APPEND CMAKE_CUDA_FLAGS " \"-L${folder}\"")
    file(RELATIVE_PATH folder "${MPELU_TORCH_ROOT}/.." "${folder}")
    list(APPEND MPELU_CUDART_FOLDERS "${folder}")
  endforeach()

  # CMake stays with the compiler of the last configuration, even where that is gone.
  if(NOT nvcc STREQUAL MPELU_NVCC)
    file(REMOVE "${CMAKE_PLATFORM_INFO_DIR}/CMakeCUDACompiler.cmake")
  endif()
  set(MPELU_NVCC "${nvcc}" CACHE INTERNAL "the nvcc of the last configuration")
  set(CMAKE_CUDA_COMPILER "${nvcc}")
  enable_language(CUDA)

  add_library(mpelu_cudart INTERFACE)
  target_include_directories(
    mpelu_cudart SYSTEM INTERFACE ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
  if(torch_cudart)
    list(GET torch_cudart 0 torch_cudart)
    target_link_libraries(mpelu_cudart INTERFACE "${torch_cudart}")
  else()
    find_package(CUDAToolkit REQUIRED)
    target_link_libraries(mpelu_cudart INTERFACE CUDA::cudart)
  endif()
  message(STATUS "mpelu: CUDA ${CMAKE_CUDA_COMPILER_VERSION} for ${MPELU_CUDA_ARCHITECTURES}")
endif()
