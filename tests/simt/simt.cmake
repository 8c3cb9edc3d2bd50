# The CUDA backend compiled by the host's compiler for the emulated device: the headers of
# tests/simt/include stand before those of the toolkit, which need not be there.

set(simt ${CMAKE_SOURCE_DIR}/tests/simt)

add_library(simt_engine STATIC ${simt}/arithmetic.cpp ${simt}/engine.cpp ${simt}/fiber.cpp
            ${simt}/device_memory.cpp ${simt}/race_checker.cpp ${simt}/ranges.cpp
            ${simt}/runtime.cpp ${simt}/blas.cpp ${simt}/traffic.cpp ${simt}/warpgroup.cpp)
target_include_directories(simt_engine BEFORE PUBLIC ${simt}/include PRIVATE ${simt})
target_link_libraries(simt_engine PUBLIC ssmax_options base OpenMP::OpenMP_CXX)

# .cu files as C++ of this compiler; 512-bit vectors would double the time to compile. A processor
# takes what a GPU refuses, an address that is no multiple of the access: here it is a trap.
function(ssmax_simt_sources target)
  set_source_files_properties(${ARGN} PROPERTIES LANGUAGE CXX)
  target_compile_options(${target} PRIVATE -xc++ -O1 -Wno-unknown-pragmas
                         -fsanitize=alignment -fsanitize-undefined-trap-on-error)
  target_include_directories(${target} BEFORE PRIVATE ${simt}/include)
endfunction()

add_library(simt_backend OBJECT ${SSMAX_CUDA_SOURCES})
ssmax_simt_sources(simt_backend ${SSMAX_CUDA_SOURCES})
target_link_libraries(simt_backend PUBLIC simt_engine normalizers)

# NCCL between emulated devices, in place of the library.
list(FILTER SSMAX_NCCL_SOURCES EXCLUDE REGEX "/nccl_library_cuda")
add_library(simt_nccl OBJECT ${SSMAX_NCCL_SOURCES} ${simt}/nccl.cpp)
ssmax_simt_sources(simt_nccl ${SSMAX_NCCL_SOURCES})
target_link_libraries(simt_nccl PUBLIC simt_engine comm)

# What the test programs of the rooms, and the program, take beside the backend.
set(SSMAX_TEST_BACKEND_SOURCES ${simt}/waiting_streams.cpp)

# Tests of the emulator itself, and of kernels that only its build can call.
file(GLOB simt_tests CONFIGURE_DEPENDS ${simt}/*_test.cpp)
add_executable(simt_tests ${simt_tests})
ssmax_simt_sources(simt_tests)
target_include_directories(simt_tests PRIVATE ${CMAKE_SOURCE_DIR}/tests)
target_link_libraries(simt_tests PRIVATE simt_backend simt_engine kernels GTest::gtest_main)

# The program with an emulated GPU.
add_executable(ssmax_simt ${SSMAX_TEST_BACKEND_SOURCES})
target_link_libraries(ssmax_simt PRIVATE app simt_backend simt_nccl)
add_test(NAME simt.bench COMMAND ssmax_simt bench linear linear_gelu rms_norm layer_norm swiglu gelu cast
         add rope embedding cross_entropy norm_squared adamw attention step --device cuda --seconds 0.001
         --tokens 32 --sequence-length 16 --hidden 32 --heads 2 --intermediate 48 --vocab 61
         --layers 1 --rounds 1 --normalizers softmax self_adjust:variant=normalized)
set_tests_properties(simt.bench PROPERTIES LABELS simt TIMEOUT 120 PASS_REGULAR_EXPRESSION
  "limits of emulated device.*gelu, linear input gradient, fused.*attention self_adjust:variant=normalized backward.*tokens/s.*self_adjust")
gtest_discover_tests(simt_tests TEST_PREFIX simt. DISCOVERY_TIMEOUT 60 PROPERTIES LABELS simt)

# Kernels whose loads and stores call the counters of traffic: the compiler's hooks of
# -fsanitize=thread, without the sanitizer. Structures stay whole, since an access of 16 bytes is one
# instruction of a GPU.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  set(traffic_sources ${SSMAX_CUDA_SOURCES})
  list(FILTER traffic_sources INCLUDE REGEX
       "/(kernels/.*|normalizers/(softmax|softpick|ssmax)/.*|self_adjust/normalized_cuda)\\.cu$")
  set(traffic_options -fno-sanitize=alignment -fsanitize=thread
      --param=tsan-instrument-func-entry-exit=0 -fno-tree-sra -finline-functions)
  add_library(simt_traffic_backend OBJECT ${traffic_sources})
  ssmax_simt_sources(simt_traffic_backend ${traffic_sources})
  target_compile_options(simt_traffic_backend PRIVATE ${traffic_options})
  target_link_libraries(simt_traffic_backend PUBLIC simt_engine normalizers)

  # The ops as `ssmax bench` calls them.
  add_library(simt_traffic_ops OBJECT ${simt}/traffic/step_traffic.cpp ${simt}/traffic/callbacks.cpp)
  target_link_libraries(simt_traffic_ops PUBLIC simt_engine model)
  target_sources(simt_traffic_ops INTERFACE
    "$<FILTER:$<TARGET_OBJECTS:app>,INCLUDE,app/bench/(attention|ops|tensors)>"
    "$<FILTER:$<TARGET_OBJECTS:simt_backend>,INCLUDE,_cuda\\.cpp>")

  add_executable(simt_traffic ${simt}/traffic/main.cpp)
  target_link_libraries(simt_traffic PRIVATE simt_traffic_ops simt_traffic_backend)

  add_executable(simt_traffic_tests ${simt}/traffic/traffic_test.cpp
                 ${simt}/traffic/step_traffic_test.cpp ${simt}/traffic/races_test.cpp)
  ssmax_simt_sources(simt_traffic_tests)
  target_compile_options(simt_traffic_tests PRIVATE ${traffic_options})
  target_link_libraries(simt_traffic_tests PRIVATE simt_traffic_ops simt_traffic_backend
                        GTest::gtest_main)
  gtest_discover_tests(simt_traffic_tests TEST_PREFIX simt. DISCOVERY_TIMEOUT 60
                       PROPERTIES LABELS simt)

  # The tests of kernels and normalizers once more, with every launch checked for races.
  add_library(simt_race_test_objects OBJECT ${simt}/attention_backward_test.cpp)
  ssmax_simt_sources(simt_race_test_objects)
  target_include_directories(simt_race_test_objects PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  target_compile_options(simt_race_test_objects PRIVATE ${traffic_options})
  target_link_libraries(simt_race_test_objects PUBLIC simt_engine normalizers GTest::gtest_main)
  add_executable(simt_race_tests ${simt}/checked_launches.cpp ${simt}/traffic/callbacks.cpp)
  target_link_libraries(simt_race_tests PRIVATE kernels_test_objects normalizers_test_objects
    simt_race_test_objects simt_traffic_backend simt_engine
    "$<FILTER:$<TARGET_OBJECTS:simt_backend>,INCLUDE,_cuda\\.cpp>")
  string(CONCAT race_filter "*AgreesWithDouble:*MayWrite*:AttentionBackward.F*:"
         "*Fused*AgreesWithDouble/softmax:*FusedAgreesWithDouble/softpick:*Fp32AgreesWithDouble/softmax:"
         "-Linear*:LayerNorm.Backward*:*ShortRows*")
  gtest_discover_tests(simt_race_tests TEST_PREFIX simt.races. DISCOVERY_TIMEOUT 60
                       TEST_FILTER ${race_filter} PROPERTIES LABELS simt)
endif()
