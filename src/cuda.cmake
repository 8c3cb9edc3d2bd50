# The CUDA backend: every src/**/*_cuda.cu and src/**/*_cuda.cpp, object files that programs link in
# addition to the rooms. Nothing else of a build depends on whether they are there.

# SSMAX_WITH_CUDA: what SSMAX_CUDA comes to on this machine.
set(SSMAX_WITH_CUDA OFF)
if(NOT SSMAX_CUDA STREQUAL "OFF")
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 80 90a CACHE STRING "GPUs to compile for; `native` = those here")
  endif()
  include(CheckLanguage)
  check_language(CUDA)
  find_package(CUDAToolkit 12.0 QUIET)
  if(CMAKE_CUDA_COMPILER AND TARGET CUDA::cublasLt)
    enable_language(CUDA)
    # CMake 3.25 does not know how nvcc is told.
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
    # Instructions that GPUs of compute capability 9.0 alone have are in code for 90a, which is none
    # of what nvcc takes for native.
    if(CMAKE_CUDA_ARCHITECTURES STREQUAL "native" AND CMAKE_CUDA_ARCHITECTURES_NATIVE)
      string(REPLACE "90-real" "90a-real" CMAKE_CUDA_ARCHITECTURES
                     "${CMAKE_CUDA_ARCHITECTURES_NATIVE}")
    endif()
    set(SSMAX_WITH_CUDA ON)
  elseif(SSMAX_CUDA STREQUAL "ON")
    message(FATAL_ERROR "SSMAX_CUDA=ON needs the CUDA Toolkit 12.0 or newer with nvcc and cuBLASLt; "
                        "found nvcc: ${CMAKE_CUDA_COMPILER}, toolkit: ${CUDAToolkit_VERSION}. Put "
                        "nvcc into PATH or set CMAKE_CUDA_COMPILER, or configure with the preset "
                        "`cpu`")
  endif()
endif()
# SSMAX_WITH_NCCL: NCCL's header is enough; the program looks for the library when it needs it.
set(SSMAX_WITH_NCCL OFF)
if(NOT SSMAX_NCCL STREQUAL "OFF")
  find_path(NCCL_INCLUDE_DIR nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
  if(SSMAX_WITH_CUDA AND NCCL_INCLUDE_DIR)
    set(SSMAX_WITH_NCCL ON)
  elseif(SSMAX_NCCL STREQUAL "ON")
    message(FATAL_ERROR "SSMAX_NCCL=ON needs the CUDA backend (found: ${SSMAX_WITH_CUDA}) and nccl.h "
                        "(found: ${NCCL_INCLUDE_DIR}); install libnccl-dev or set NCCL_INCLUDE_DIR")
  endif()
endif()
message(STATUS "CUDA backend: ${SSMAX_WITH_CUDA}, NCCL: ${SSMAX_WITH_NCCL}")

file(GLOB_RECURSE SSMAX_CUDA_SOURCES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/*_cuda.cu
     ${CMAKE_SOURCE_DIR}/src/*_cuda.cpp)
# What belongs to `comm` is linked to programs with ranks only.
set(SSMAX_NCCL_SOURCES ${SSMAX_CUDA_SOURCES})
list(FILTER SSMAX_NCCL_SOURCES INCLUDE REGEX "/src/comm/")
list(FILTER SSMAX_CUDA_SOURCES EXCLUDE REGEX "/src/comm/")

# Attention divides by sums of exponentials, where 2 ulp are enough and the exact division costs
# registers. The parentheses are nvcc's own, in what it makes of the options' headers.
foreach(source ${SSMAX_CUDA_SOURCES})
  if(source MATCHES "/normalizers/")
    set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS
      "$<$<COMPILE_LANGUAGE:CUDA>:-prec-div=false>;$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wno-parentheses>")
  endif()
endforeach()

function(ssmax_cuda_options target)
  # 186: comparing an unsigned number with 0, in templates for both kinds.
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr
                         -Werror=all-warnings -diag-suppress=186 -Xcompiler=-Wall,-Wextra,-fopenmp -lineinfo>)
endfunction()

function(ssmax_cuda_objects target)
  add_library(${target} OBJECT ${ARGN})
  ssmax_cuda_options(${target})
  target_link_libraries(${target} PUBLIC ssmax_options CUDA::cudart_static)
endfunction()

# The targets cuda_backend, and cuda_nccl where there is NCCL; programs link them directly.
function(ssmax_cuda_backend)
  ssmax_cuda_objects(cuda_backend ${SSMAX_CUDA_SOURCES})
  target_link_libraries(cuda_backend PUBLIC normalizers CUDA::cublasLt)
  if(SSMAX_WITH_NCCL)
    ssmax_cuda_objects(cuda_nccl ${SSMAX_NCCL_SOURCES})
    target_include_directories(cuda_nccl SYSTEM PRIVATE ${NCCL_INCLUDE_DIR})
    target_link_libraries(cuda_nccl PUBLIC comm ${CMAKE_DL_LIBS})
  endif()
endfunction()
