#include "normalizers/registry.h"

#include <gtest/gtest.h>

#include <set>

#include "base/errors.h"
#include "normalizers/ssmax/ssmax.h"

namespace ssmax {
namespace {

TEST(Registry, HasEveryKindOnceWithItsTexts) {
  std::set<std::string> kinds;
  for (const auto& entry : normalizers::entries()) {
    EXPECT_TRUE(kinds.insert(entry.kind).second) << entry.kind;
    EXPECT_FALSE(entry.help.empty() || entry.formula.empty() || entry.source.empty()) << entry.kind;
    EXPECT_EQ(entry.help.find('\n'), std::string::npos) << entry.kind;
    ASSERT_NE(entry.make(entry.options()), nullptr) << entry.kind;
  }
  for (const char* kind : {"softmax", "ssmax", "learned_length", "self_adjust", "sink", "sigmoid",
                           "softpick", "temperature", "log_n", "entmax"}) {
    EXPECT_TRUE(kinds.contains(kind)) << kind;
  }
}

TEST(Registry, NamesTheNearestKind) {
  EXPECT_EQ(normalizers::find("ssmax").kind, "ssmax");
  try {
    normalizers::find("self_ajust");
    FAIL() << "an unknown kind was found";
  } catch (const base::Error& error) {
    EXPECT_EQ(error.kind(), base::ErrorKind::usage);
    EXPECT_NE(std::string(error.what()).find("\"self_adjust\""), std::string::npos) << error.what();
  }
}

TEST(Registry, KindSectionsChooseTheOptions) {
  base::KindSection section(&normalizers::normalizer_kinds, "ssmax");
  section.get<normalizers::ssmax::Options>().bias = true;
  const auto parameters = normalizers::make(section)->parameters();
  ASSERT_EQ(parameters.size(), 2U);
  EXPECT_EQ(parameters[0].name, "scale");
  EXPECT_EQ(parameters[0].value, 1.0);
  EXPECT_EQ(parameters[1].name, "bias");
  section.get<normalizers::ssmax::Options>().learn_scale = false;
  section.get<normalizers::ssmax::Options>().bias = false;
  EXPECT_TRUE(normalizers::make(section)->parameters().empty());
}

}  // namespace
}  // namespace ssmax
