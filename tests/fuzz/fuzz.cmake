# Fuzz targets: tests/fuzz/NAME_fuzz.cpp with LLVMFuzzerTestOneInput() and seeds() (driver.h).
# By default a program of seeded mutations that any compiler builds; its short run is a test with
# the label `fuzz`. With -DSSMAX_LIBFUZZER=ON (clang) the coverage-guided engine takes its place.
# For coverage, configure with CMAKE_CXX_FLAGS=-fsanitize=fuzzer-no-link too.
option(SSMAX_LIBFUZZER "Build the fuzz targets for libFuzzer (clang only)" OFF)

add_custom_target(fuzz_programs)

# ssmax_fuzz(NAME [LIBRARIES ...])
function(ssmax_fuzz name)
  cmake_parse_arguments(FUZZ "" "" "LIBRARIES" ${ARGN})
  set(target ${name}_fuzz)
  add_executable(${target} ${CMAKE_SOURCE_DIR}/tests/fuzz/${name}_fuzz.cpp)
  target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  target_link_libraries(${target} PRIVATE base ${FUZZ_LIBRARIES})
  add_dependencies(fuzz_programs ${target})
  if(SSMAX_LIBFUZZER)
    target_link_options(${target} PRIVATE -fsanitize=fuzzer)
  else()
    target_sources(${target} PRIVATE ${CMAKE_SOURCE_DIR}/tests/fuzz/driver.cpp)
    add_test(NAME fuzz.${name} COMMAND ${target} --seconds 3 --iterations 20000)
    set_tests_properties(fuzz.${name} PROPERTIES LABELS fuzz TIMEOUT 60)
  endif()
endfunction()

ssmax_fuzz(json LIBRARIES base)
ssmax_fuzz(shard LIBRARIES corpus)
ssmax_fuzz(tokenizer LIBRARIES corpus)
ssmax_fuzz(safetensors LIBRARIES checkpoint)
ssmax_fuzz(hugging_face LIBRARIES checkpoint)
