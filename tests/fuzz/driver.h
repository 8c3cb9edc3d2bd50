#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

/// A fuzz target defines these two. driver.cpp then gives a program that runs seeded mutations of
/// the seeds under any compiler; with clang's -fsanitize=fuzzer that main is left out.

/// Called with any bytes; must return 0. A crash, a sanitizer's report or an exception that leaves
/// it is a finding.
// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer's name
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace ssmax::fuzz {

/// Inputs to start from: valid ones and what was found before.
std::vector<std::string> seeds();

/// Says what the target found wrong and aborts.
[[noreturn]] inline void finding(const std::string& reason) {
  std::fprintf(stderr, "fuzz: %s\n", reason.c_str());
  std::abort();
}

}  // namespace ssmax::fuzz
