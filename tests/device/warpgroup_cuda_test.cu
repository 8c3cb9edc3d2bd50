#include "support/warpgroup_case.cuh"

// The instructions of compute capability 9.0 on the hardware, or as the emulator reads their
// definition.

namespace ssmax::device {
namespace {

TEST_F(Warpgroup, RowsTimesRows) {
  const auto expect = [&](const std::vector<float>& c, std::int64_t columns) {
    for (std::int64_t i = 0; i < 64; ++i) {
      for (std::int64_t n = 0; n < columns; ++n) {
        double sum = 0.0;
        for (std::int64_t k = 0; k < 64; ++k) sum += at(0, 64 + i, 1, k) * at(1, 5 + n, 0, k);
        // Products are exact, four sums of sixteen are rounded to fp32.
        ASSERT_NEAR(c[static_cast<std::size_t>(i * columns + n)], sum, 1e-5) << i << ", " << n;
      }
    }
  };
  expect(run<rows_times_rows<8, Fault::none>>(), 64);
  expect(run<rows_times_rows<16, Fault::none>>(), 128);
}

TEST_F(Warpgroup, RegistersTimesColumns) {
  const auto expect = [&](const std::vector<float>& c, std::int64_t columns) {
    for (std::int64_t i = 0; i < 64; ++i) {
      for (std::int64_t n = 0; n < columns; ++n) {
        const double product =
            static_cast<double>(Bf16(static_cast<double>(i + 1))) * at(0, 3 + 17, 2, n);
        ASSERT_NEAR(c[static_cast<std::size_t>(i * columns + n)], 0.5 + product, 1e-5)
            << i << ", " << n;
      }
    }
  };
  expect(run<registers_times_columns<8>>(), 64);
  expect(run<registers_times_columns<16>>(), 128);
}

TEST_F(Warpgroup, ColumnsTimesColumns) {
  const auto expect = [&](const std::vector<float>& c, std::int64_t columns) {
    for (std::int64_t i = 0; i < 64; ++i) {
      for (std::int64_t n = 0; n < columns; ++n) {
        double sum = 0.0;
        for (std::int64_t k = 0; k < 32; ++k) sum += at(0, k, 1, i) * at(1, 7 + k, 2, n);
        ASSERT_NEAR(c[static_cast<std::size_t>(i * columns + n)], sum, 1e-5) << i << ", " << n;
      }
    }
  };
  expect(run<columns_times_columns<1>>(), 8);
  expect(run<columns_times_columns<8>>(), 64);
}

TEST_F(Warpgroup, PlainBytes) {
  const auto c = run<plain_bytes<Bf16>>(tensor_.data<Bf16>());
  for (std::size_t i = 0; i < 24; ++i) EXPECT_EQ(c[i], values_[i < 16 ? i : i - 8]);
}

}  // namespace
}  // namespace ssmax::device
