# Libraries of other people: the system's package first, a pinned release with its hash second.
# The downloads are the path of systems without packages; the packages are what is tested.
include(FetchContent)
set(FETCHCONTENT_QUIET ON)
# What is downloaded becomes static libraries; options below count in projects of any age.
set(BUILD_SHARED_LIBS OFF)
set(CMAKE_POLICY_DEFAULT_CMP0077 NEW)

# ssmax_fetch(NAME URL SHA256 [SOURCE_SUBDIR folder]): builds a release archive, quietly.
macro(ssmax_fetch name url hash)
  message(STATUS "${name} is not installed: downloading ${url}")
  FetchContent_Declare(${name} URL ${url} URL_HASH SHA256=${hash} SYSTEM ${ARGN})
  FetchContent_MakeAvailable(${name})
endmacro()

# ssmax_find(TARGET HEADER LIBRARY): the target of an installed library that brings no package for
# CMake; none where it is not installed.
function(ssmax_find target header library)
  find_path(SSMAX_${library}_HEADERS ${header})
  find_library(SSMAX_${library}_FILE ${library})
  mark_as_advanced(SSMAX_${library}_HEADERS SSMAX_${library}_FILE)
  if(SSMAX_${library}_HEADERS AND SSMAX_${library}_FILE)
    add_library(${target} UNKNOWN IMPORTED GLOBAL)
    set_target_properties(${target} PROPERTIES IMPORTED_LOCATION ${SSMAX_${library}_FILE}
                          INTERFACE_INCLUDE_DIRECTORIES ${SSMAX_${library}_HEADERS})
  endif()
endfunction()

find_package(Threads REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS CXX)

find_package(nlohmann_json 3.11 QUIET)
if(NOT nlohmann_json_FOUND)
  ssmax_fetch(nlohmann_json
              https://github.com/nlohmann/json/releases/download/v3.11.3/json.tar.xz
              d6c65aca6b1ed68e7a182f4757257b107ae403032760ed6ef121c9d55e81757d)
endif()

find_package(CLI11 2.1 QUIET)
if(NOT CLI11_FOUND)
  ssmax_fetch(cli11
              https://github.com/CLIUtils/CLI11/archive/refs/tags/v2.4.1.tar.gz
              73b7ec52261ce8fe980a29df6b4ceb66243bb0b779451dbd3d014cfec9fdbb58)
endif()

find_package(spdlog 1.10 QUIET)
if(NOT spdlog_FOUND)
  ssmax_fetch(spdlog
              https://github.com/gabime/spdlog/archive/refs/tags/v1.14.1.tar.gz
              1586508029a7d0670dfcb2d97575dcdc242d3868a259742b69f100801ab4e16b)
endif()

ssmax_find(XXHASH::xxhash xxhash.h xxhash)
ssmax_find(PCRE2::8 pcre2.h pcre2-8)
ssmax_find(ZSTD::zstd zstd.h zstd)
if(NOT TARGET XXHASH::xxhash)
  set(XXHASH_BUILD_XXHSUM OFF)
  ssmax_fetch(xxhash
              https://github.com/Cyan4973/xxHash/archive/refs/tags/v0.8.2.tar.gz
              baee0c6afd4f03165de7a4e67988d16f0f2b257b51d0e3cb91909302a26a79c4
              SOURCE_SUBDIR cmake_unofficial)
  add_library(XXHASH::xxhash ALIAS xxhash)
endif()
if(NOT TARGET PCRE2::8)
  set(PCRE2_BUILD_PCRE2GREP OFF)
  set(PCRE2_BUILD_TESTS OFF)
  set(PCRE2_SUPPORT_JIT ON)
  ssmax_fetch(pcre2
              https://github.com/PCRE2Project/pcre2/releases/download/pcre2-10.42/pcre2-10.42.tar.gz
              c33b418e3b936ee3153de2c61cc638e7e4fe3156022a5c77d0711bcbb9d64f1f)
  add_library(PCRE2::8 ALIAS pcre2-8-static)
endif()

find_package(ZLIB QUIET)
if(NOT ZLIB_FOUND)
  ssmax_fetch(zlib
              https://github.com/madler/zlib/releases/download/v1.3.1/zlib-1.3.1.tar.gz
              9a93b2b7dfdac77ceba5a558a580e74667dd6fede4585b91eefb60f03b72df23)
  target_include_directories(zlibstatic INTERFACE ${zlib_SOURCE_DIR} ${zlib_BINARY_DIR})
  add_library(ZLIB::ZLIB ALIAS zlibstatic)
endif()
if(NOT TARGET ZSTD::zstd)
  set(ZSTD_BUILD_PROGRAMS OFF)
  set(ZSTD_BUILD_SHARED OFF)
  ssmax_fetch(zstd
              https://github.com/facebook/zstd/releases/download/v1.5.6/zstd-1.5.6.tar.gz
              8c29e06cf42aacc1eafc4077ae2ec6c6fcb96a626157e0593d5e82a34fd403c1
              SOURCE_SUBDIR build/cmake)
  target_include_directories(libzstd_static INTERFACE ${zstd_SOURCE_DIR}/lib)
  add_library(ZSTD::zstd ALIAS libzstd_static)
endif()

find_package(dnnl QUIET)
if(NOT dnnl_FOUND)
  set(DNNL_BUILD_TESTS OFF)
  set(DNNL_BUILD_EXAMPLES OFF)
  set(DNNL_CPU_RUNTIME OMP)
  ssmax_fetch(dnnl
              https://github.com/oneapi-src/oneDNN/archive/refs/tags/v3.7.3.tar.gz
              071f289dc961b43a3b7c8cbe8a305290a7c5d308ec4b2f586397749abdc88296)
  if(NOT TARGET DNNL::dnnl)
    add_library(DNNL::dnnl ALIAS dnnl)
  endif()
endif()

set(SSMAX_BUILT_WITH_MPI false)
if(NOT SSMAX_MPI STREQUAL OFF)
  set(MPI_CXX_SKIP_MPICXX ON)
  find_package(MPI QUIET COMPONENTS CXX)
  if(MPI_CXX_FOUND)
    set(SSMAX_BUILT_WITH_MPI true)
  elseif(SSMAX_MPI STREQUAL ON)
    message(FATAL_ERROR "SSMAX_MPI is ON but no MPI was found; install libopenmpi-dev")
  endif()
endif()

if(SSMAX_TESTS)
  find_package(GTest 1.12 QUIET)
  if(NOT GTest_FOUND)
    set(INSTALL_GTEST OFF)
    ssmax_fetch(googletest
                https://github.com/google/googletest/archive/refs/tags/v1.14.0.tar.gz
                8ad598c73ad796e0d8280b082cebd82a630d73e73cd3c70057938a6501bba5d7)
  endif()
endif()
