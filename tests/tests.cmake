# One test program per room: every tests/ROOM/**/*_test.cpp, linked to the room it tests.
include(GoogleTest)

# What tests run on beside the CPU: the CUDA backend where it is built, else the same sources on the
# emulated device. The emulator switches stacks under the sanitizers' feet, so they go without it.
if(SSMAX_WITH_CUDA)
  set(SSMAX_TEST_BACKEND cuda_backend)
  set(SSMAX_TEST_BACKEND_LABEL gpu)
  if(SSMAX_WITH_NCCL)
    set(SSMAX_TEST_NCCL cuda_nccl)
  endif()
elseif(NOT SSMAX_SANITIZE)
  include(tests/simt/simt.cmake)
  set(SSMAX_TEST_BACKEND simt_backend)
  set(SSMAX_TEST_BACKEND_LABEL simt)
  set(SSMAX_TEST_NCCL simt_nccl)
endif()

# Tests with kernels of their own, *_cuda_test.cu, of a program that has a backend.
function(ssmax_kernel_test_sources program)
  if(NOT ARGN)
    return()
  endif()
  target_include_directories(${program} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  if(SSMAX_WITH_CUDA)
    ssmax_cuda_options(${program})
  else()
    ssmax_simt_sources(${program} ${ARGN})
  endif()
endfunction()

function(ssmax_test_program program label prefix)
  gtest_discover_tests(${program} TEST_PREFIX ${prefix}. DISCOVERY_TIMEOUT 60 ${ARGN}
                       PROPERTIES LABELS "${label}")
endfunction()

# ssmax_tests(ROOM [ON_DEVICE] [DEVICE_FILTER filter] [RANK_FILTER filter] [LIBRARIES ...]
# [DEVICE_LIBRARIES ...] [LABELS ...]): the program ROOM_tests. ON_DEVICE: the same object files once
# more with a backend, and the device libraries, as ROOM_simt_tests or ROOM_gpu_tests with that label;
# tests ask support/test_device.h what they run on; *_cuda_test.cu of the room are there only. DEVICE_FILTER: those run there, and only there.
# RANK_FILTER: those of them that run on several ranks only.
function(ssmax_tests room)
  cmake_parse_arguments(TESTS "ON_DEVICE" "DEVICE_FILTER;RANK_FILTER"
                        "LIBRARIES;DEVICE_LIBRARIES;LABELS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/${room}/*_test.cpp)
  if(NOT sources)
    return()
  endif()
  add_library(${room}_test_objects OBJECT ${sources})
  target_include_directories(${room}_test_objects PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  target_compile_definitions(${room}_test_objects PRIVATE SSMAX_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  target_link_libraries(${room}_test_objects PUBLIC ${TESTS_LIBRARIES} GTest::gtest_main)
  add_executable(${room}_tests)
  target_link_libraries(${room}_tests PRIVATE ${room}_test_objects)
  set(cpu_filter "")
  set(filter "")
  if(TESTS_DEVICE_FILTER)
    set(cpu_filter TEST_FILTER -${TESTS_DEVICE_FILTER})
    set(filter TEST_FILTER ${TESTS_DEVICE_FILTER}-${TESTS_RANK_FILTER})
  endif()
  ssmax_test_program(${room}_tests "${room};${TESTS_LABELS}" ${room} ${cpu_filter})
  if(TESTS_ON_DEVICE AND SSMAX_TEST_BACKEND)
    set(program ${room}_${SSMAX_TEST_BACKEND_LABEL}_tests)
    file(GLOB kernel_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/${room}/*_cuda_test.cu)
    add_executable(${program} ${SSMAX_TEST_BACKEND_SOURCES} ${kernel_sources})
    ssmax_kernel_test_sources(${program} ${kernel_sources})
    target_link_libraries(${program} PRIVATE ${room}_test_objects ${SSMAX_TEST_BACKEND}
                          ${TESTS_DEVICE_LIBRARIES})
    ssmax_test_program(${program} ${SSMAX_TEST_BACKEND_LABEL} ${SSMAX_TEST_BACKEND_LABEL}.${room}
                       ${filter})
  endif()
endfunction()

ssmax_tests(base LIBRARIES base)
ssmax_tests(device ON_DEVICE LIBRARIES device)
ssmax_tests(corpus LIBRARIES corpus)
ssmax_tests(comm ON_DEVICE DEVICE_FILTER Nccl* RANK_FILTER NcclRanks* LIBRARIES comm
            DEVICE_LIBRARIES ${SSMAX_TEST_NCCL})
ssmax_tests(params LIBRARIES params)
ssmax_tests(kernels ON_DEVICE LIBRARIES kernels)
ssmax_tests(normalizers ON_DEVICE DEVICE_FILTER *Device* LIBRARIES normalizers)
ssmax_tests(optim LIBRARIES optim)
ssmax_tests(checkpoint LIBRARIES checkpoint model)
ssmax_tests(model LIBRARIES model checkpoint)
ssmax_tests(evaluation LIBRARIES evaluation checkpoint)
ssmax_tests(train ON_DEVICE DEVICE_FILTER Device* RANK_FILTER DeviceRanks* LIBRARIES train
            DEVICE_LIBRARIES ${SSMAX_TEST_NCCL})
ssmax_tests(app LIBRARIES checkpoint corpus CLI11::CLI11)
if(TARGET app_tests)
  file(GLOB inspect_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/app/inspect/*.cpp)
  target_sources(app_tests PRIVATE ${inspect_sources} ${CMAKE_SOURCE_DIR}/src/app/table.cpp)
endif()

# Open MPI keeps memory until the process ends, which is no leak of ours.
set(SSMAX_MPI_TEST_ENVIRONMENT "")
set(SSMAX_RANKS_TEST_OPTIONS "")
if(SSMAX_SANITIZE STREQUAL "address")
  set(SSMAX_MPI_TEST_ENVIRONMENT ASAN_OPTIONS=detect_leaks=0)
  set(SSMAX_RANKS_TEST_OPTIONS --sanitized)
endif()

# ssmax_rank_tests(NAME PROGRAM FILTER OPTION RANKS...): the same test program on several ranks; every
# rank runs every case. Skipped by name where there is no mpirun.
function(ssmax_rank_tests name program filter option)
  foreach(ranks ${ARGN})
    add_test(NAME ${name}.${program}_on_${ranks}_ranks
             COMMAND ${CMAKE_SOURCE_DIR}/scripts/run_ranks.sh ${option} ${ranks}
                     $<TARGET_FILE:${program}> --gtest_filter=${filter} --gtest_brief=1)
    set_tests_properties(${name}.${program}_on_${ranks}_ranks PROPERTIES
                         LABELS ${name} TIMEOUT 120 SKIP_RETURN_CODE 77 RUN_SERIAL ON)
    if(name STREQUAL "mpi")
      set_tests_properties(${name}.${program}_on_${ranks}_ranks PROPERTIES
                           ENVIRONMENT "${SSMAX_MPI_TEST_ENVIRONMENT}")
    endif()
  endforeach()
endfunction()
ssmax_rank_tests(tcp comm_tests Ranks.* --tcp 3)
if(SSMAX_SANITIZE STREQUAL "thread")  # which knows nothing of what MPI's own threads do
  ssmax_rank_tests(tcp train_tests Ranks.*:StepMeeting.* --tcp 2)
endif()
if(SSMAX_TEST_BACKEND)
  set(label ${SSMAX_TEST_BACKEND_LABEL})
  ssmax_rank_tests(${label} comm_${label}_tests Ranks.*:Nccl* --tcp 3)
  ssmax_rank_tests(${label} train_${label}_tests DeviceRanks.* --tcp 2)
endif()
if(SSMAX_BUILT_WITH_MPI)
  ssmax_rank_tests(mpi comm_tests Ranks.* "" 2 3 4)
  ssmax_rank_tests(mpi train_tests Ranks.*:StepMeeting.* "" 2 4)
  if(SSMAX_TEST_BACKEND)
    ssmax_rank_tests(mpi comm_${label}_tests Ranks.*:Nccl* "" 2)
  endif()
endif()

# Checks of the repository and of the program as a whole, written in Python.
if(Python3_FOUND)
  function(ssmax_script_test name)
    cmake_parse_arguments(TEST "" "TIMEOUT" "COMMAND;LABELS" ${ARGN})
    add_test(NAME ${name} COMMAND ${Python3_EXECUTABLE} ${TEST_COMMAND}
             WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(${name} PROPERTIES LABELS "${TEST_LABELS}" TIMEOUT ${TEST_TIMEOUT})
  endfunction()

  ssmax_script_test(scripts.layers TIMEOUT 60 LABELS scripts
                    COMMAND scripts/check_layers.py)
  ssmax_script_test(faults.layers TIMEOUT 60 LABELS scripts faults
                    COMMAND tests/faults/check_layers_test.py)
  foreach(kind texts schema docs configs)
    ssmax_script_test(scripts.${kind} TIMEOUT 120 LABELS scripts
                      COMMAND scripts/check_texts.py --only ${kind} $<TARGET_FILE:ssmax>)
  endforeach()
  if(NOT SSMAX_SANITIZE)  # which takes memory of its own
    ssmax_script_test(scripts.memory TIMEOUT 120 LABELS scripts
                      COMMAND scripts/check_memory.py $<TARGET_FILE:ssmax>)
  endif()
  ssmax_script_test(scripts.start TIMEOUT 120 LABELS scripts timing
                    COMMAND scripts/check_start.py $<TARGET_FILE:ssmax>)
  set_tests_properties(scripts.start PROPERTIES RUN_SERIAL ON)
  ssmax_script_test(scripts.follow_metrics TIMEOUT 60 LABELS scripts
                    COMMAND tests/scripts/follow_metrics_test.py)
  ssmax_script_test(scripts.compare_devices TIMEOUT 60 LABELS scripts
                    COMMAND tests/scripts/compare_devices_test.py)
  ssmax_script_test(scripts.hugging_face TIMEOUT 120 LABELS scripts
                    COMMAND tests/scripts/hugging_face_test.py $<TARGET_FILE:ssmax>)
  ssmax_script_test(scripts.completion TIMEOUT 60 LABELS scripts
                    COMMAND tests/scripts/completion_test.py $<TARGET_FILE:ssmax>)
  # Where a Python with `datasets` is at hand: -DSSMAX_DATASETS_PYTHON=PATH.
  set(SSMAX_DATASETS_PYTHON ${Python3_EXECUTABLE} CACHE FILEPATH "A Python with datasets, for a test")
  ssmax_script_test(faults.prepare_dataset TIMEOUT 300 LABELS faults
                    COMMAND tests/faults/prepare_dataset_test.py $<TARGET_FILE:ssmax>
                            --python ${SSMAX_DATASETS_PYTHON})
  set_tests_properties(faults.prepare_dataset PROPERTIES SKIP_RETURN_CODE 77)
  ssmax_script_test(app.reproduce TIMEOUT 600 LABELS app scripts
                    COMMAND tests/app/reproduce_test.py $<TARGET_FILE:ssmax>
                            ${CMAKE_BINARY_DIR}/reproduce_tiny)
  ssmax_script_test(app.evaluate TIMEOUT 60 LABELS app
                    COMMAND tests/app/evaluate_test.py $<TARGET_FILE:ssmax>)
  ssmax_script_test(app.generate TIMEOUT 60 LABELS app
                    COMMAND tests/app/generate_test.py $<TARGET_FILE:ssmax>)
  ssmax_script_test(faults.wrong_input TIMEOUT 120 LABELS faults
                    COMMAND tests/faults/wrong_input_test.py $<TARGET_FILE:ssmax>)
  # The long form is scripts/kill_test.py alone: 200 kills.
  ssmax_script_test(faults.kill TIMEOUT 200 LABELS faults
                    COMMAND scripts/kill_test.py $<TARGET_FILE:ssmax> --kills 12 --seed 1)
  set_tests_properties(faults.kill PROPERTIES RUN_SERIAL ON)
  if(SSMAX_BUILT_WITH_MPI)
    ssmax_script_test(mpi.failures TIMEOUT 300 LABELS mpi faults
                      COMMAND tests/faults/ranks_test.py $<TARGET_FILE:ssmax>
                              ${SSMAX_RANKS_TEST_OPTIONS})
    ssmax_script_test(mpi.kill TIMEOUT 200 LABELS mpi faults
                      COMMAND scripts/kill_test.py $<TARGET_FILE:ssmax> --ranks 2 --kills 5)
    set_tests_properties(mpi.failures mpi.kill PROPERTIES RUN_SERIAL ON SKIP_RETURN_CODE 77
                         ENVIRONMENT "${SSMAX_MPI_TEST_ENVIRONMENT}")
  endif()
endif()

include(${CMAKE_SOURCE_DIR}/tests/fuzz/fuzz.cmake)
