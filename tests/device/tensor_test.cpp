#include "device/tensor.h"

#include <gtest/gtest.h>

#include <type_traits>
#include <vector>

#include "base/errors.h"

namespace ssmax::device {
namespace {

TEST(Shape, KnowsItsExtents) {
  const Shape shape{2, 3, 5};
  EXPECT_EQ(shape.rank(), 3);
  EXPECT_EQ(shape[2], 5);
  EXPECT_EQ(shape.elements(), 30);
  EXPECT_EQ(shape.text(), "(2, 3, 5)");
  EXPECT_NE(shape, (Shape{2, 3}));
  EXPECT_NE(shape, (Shape{2, 5, 3}));
  EXPECT_EQ((Shape{0, 7}).elements(), 0);
  EXPECT_EQ(Shape().rank(), 0);
}

TEST(Shape, RefusesFiveAxesNegativeExtentsAndOverflow) {
  EXPECT_THROW((Shape{1, 1, 1, 1, 1}), base::Error);
  EXPECT_THROW((Shape{2, -1}), base::Error);
  const std::int64_t half = std::int64_t{1} << 32;
  EXPECT_THROW((Shape{half, half}), base::Error);
  EXPECT_NO_THROW((Shape{half, half / 4}));
}

TEST(Tensor, RowsAndReshapesShareMemory) {
  std::vector<float> data(24);
  const Tensor tensor = view(data.data(), {4, 3, 2});
  EXPECT_EQ(tensor.bytes(), 96);
  const Tensor rows = tensor.rows(1, 2);
  EXPECT_EQ(rows.shape(), (Shape{2, 3, 2}));
  EXPECT_EQ(rows.data<float>(), data.data() + 6);
  EXPECT_EQ(tensor.rows(4, 0).elements(), 0);
  const Tensor flat = rows.reshaped({12});
  EXPECT_EQ(flat.raw(), rows.raw());
  EXPECT_EQ(flat.extent(0), 12);
  flat.data<float>()[0] = 1.0F;
  EXPECT_EQ(data[6], 1.0F);
}

TEST(Tensor, ConstnessIsPartOfTheType) {
  static_assert(std::is_convertible_v<Tensor, ConstTensor>);
  static_assert(!std::is_convertible_v<ConstTensor, Tensor>);
  static_assert(std::is_same_v<decltype(ConstTensor().data<float>()), const float*>);
  static_assert(std::is_same_v<decltype(ConstTensor().rows(0, 0)), ConstTensor>);
  const std::vector<std::int32_t> tokens = {1, 2, 3};
  const ConstTensor tensor = view(tokens.data(), {3});
  EXPECT_EQ(tensor.dtype(), DType::i32);
  EXPECT_EQ(tensor.data<std::int32_t>()[2], 3);
}

TEST(Tensor, IsEmptyByDefault) {
  const Tensor tensor;
  EXPECT_TRUE(tensor.empty());
  EXPECT_EQ(tensor.elements(), 0);
  EXPECT_EQ(tensor.bytes(), 0);
}

}  // namespace
}  // namespace ssmax::device
