#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/errors.h"
#include "support/files.h"
#include "support/temporary_folder.h"

namespace ssmax::corpus {

using support::read_all;
using support::TemporaryFolder;
using support::write_all;

inline std::filesystem::path golden(const std::string& name) {
  return std::filesystem::path(SSMAX_SOURCE_DIR) / "tests/golden/tokenizer" / name;
}

inline std::vector<std::int32_t> golden_ids(const std::string& name) {
  std::ifstream stream(golden(name));
  EXPECT_TRUE(stream.good()) << golden(name);
  return {std::istream_iterator<std::int32_t>(stream), {}};
}

/// The message of the Error(kind) that `work` throws; anything else fails the test.
template <class Work>
std::string error_of(base::ErrorKind kind, Work&& work) {
  try {
    work();
  } catch (const base::Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error was thrown";
  return "";
}

inline void expect_contains(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "expected \"" << part << "\" in: " << text;
}

}  // namespace ssmax::corpus
