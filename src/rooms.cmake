# The rooms, lowest floor first. A room links to what stands below it only.

find_program(GIT git)
set(SSMAX_GIT_HASH unknown)
if(GIT)
  execute_process(COMMAND ${GIT} -C ${CMAKE_SOURCE_DIR} rev-parse --short=12 HEAD
                  OUTPUT_VARIABLE SSMAX_GIT_HASH OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  # It grows with every commit and checkout: the program never names the one before.
  execute_process(COMMAND ${GIT} -C ${CMAKE_SOURCE_DIR} rev-parse --git-path logs/HEAD
                  OUTPUT_VARIABLE git_log OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  get_filename_component(git_log "${git_log}" ABSOLUTE BASE_DIR ${CMAKE_SOURCE_DIR})
  if(EXISTS ${git_log} AND NOT IS_DIRECTORY ${git_log})
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${git_log})
  endif()
endif()
if(NOT SSMAX_GIT_HASH)  # no repository, or that of another user
  set(SSMAX_GIT_HASH unknown)
endif()
configure_file(src/base/version.cpp.in generated/base/version.cpp @ONLY)
configure_file(src/comm/build.h.in generated/comm/build.h @ONLY)

# The modeling file that an export carries is part of the program.
set(modeling ${CMAKE_SOURCE_DIR}/src/checkpoint/hugging_face/modeling_ssmax.py)
file(READ ${modeling} SSMAX_MODELING_TEXT)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${modeling})
configure_file(src/checkpoint/hugging_face/modeling_text.h.in
               generated/checkpoint/hugging_face/modeling_text.h @ONLY)

# One registry line per folder of src/normalizers; no central list to edit.
file(GLOB normalizer_folders CONFIGURE_DEPENDS LIST_DIRECTORIES true
     RELATIVE ${CMAKE_SOURCE_DIR}/src/normalizers ${CMAKE_SOURCE_DIR}/src/normalizers/*)
set(SSMAX_NORMALIZER_DECLARATIONS "")
set(SSMAX_NORMALIZER_ENTRIES "")
foreach(folder ${normalizer_folders})
  if(IS_DIRECTORY ${CMAKE_SOURCE_DIR}/src/normalizers/${folder})
    string(APPEND SSMAX_NORMALIZER_DECLARATIONS
           "namespace ${folder} {\nNormalizerEntry entry();\n}\n")
    string(APPEND SSMAX_NORMALIZER_ENTRIES "      ${folder}::entry(),\n")
  endif()
endforeach()
configure_file(src/normalizers/registry_list.h.in generated/normalizers/registry_list.h @ONLY)

ssmax_room(base ${CMAKE_BINARY_DIR}/generated/base/version.cpp DEPENDS nlohmann_json::nlohmann_json spdlog::spdlog XXHASH::xxhash Threads::Threads)
ssmax_room(device DEPENDS base OpenMP::OpenMP_CXX DNNL::dnnl)
ssmax_room(corpus DEPENDS base PCRE2::8 ZLIB::ZLIB ZSTD::zstd)
ssmax_room(comm DEPENDS device)
if(SSMAX_BUILT_WITH_MPI)
  # Of its libraries only the C one is used.
  target_link_libraries(comm PRIVATE MPI::MPI_CXX)
  target_link_options(comm INTERFACE -Wl,--as-needed)
else()
  set_source_files_properties(src/comm/mpi_communicator.cpp PROPERTIES HEADER_FILE_ONLY ON)
endif()
ssmax_room(params DEPENDS device)
ssmax_room(kernels DEPENDS device)
# Clamps before an exponential stay blends; threaded into jumps they double the vector code.
target_compile_options(kernels PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fno-thread-jumps>)
ssmax_room(normalizers DEPENDS kernels)
if(SSMAX_WITH_CUDA)
  ssmax_cuda_backend()
endif()
ssmax_room(optim DEPENDS kernels params)
ssmax_room(checkpoint DEPENDS params corpus comm)
ssmax_room(model DEPENDS normalizers params)
ssmax_room(evaluation DEPENDS model corpus)
ssmax_room(train DEPENDS evaluation model optim checkpoint comm corpus)

file(GLOB_RECURSE app_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/app/*.cpp)
if(app_sources)
  add_library(app OBJECT ${app_sources})
  target_link_libraries(app PUBLIC train evaluation model checkpoint comm corpus normalizers
                        CLI11::CLI11)
  add_executable(ssmax)
  target_link_libraries(ssmax PRIVATE app)
  if(SSMAX_WITH_CUDA)
    target_link_libraries(ssmax PRIVATE cuda_backend)
    if(SSMAX_WITH_NCCL)
      target_link_libraries(ssmax PRIVATE cuda_nccl)
    endif()
  endif()
endif()
