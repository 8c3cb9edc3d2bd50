#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

namespace ssmax::base {
namespace {

[[gnu::noinline]] std::vector<std::int64_t> constants() { return {40, 40, 40, 0}; }

// GCC 12.2 loses the zero with AVX-512 unless the build asks for smaller copies.
TEST(Compiler, CopiesConstantsThatEndInZeros) {
  EXPECT_EQ(constants()[3], 0);
  EXPECT_EQ(constants()[2], 40);
}

}  // namespace
}  // namespace ssmax::base
