#include <gtest/gtest.h>

#include "base/errors.h"
#include "device/arena.h"
#include "device/gpus.h"
#include "kernels/linear/linear.h"
#include "kernels/linear/matrix_product_cuda.h"

// The stand-in for cuBLASLt must refuse what the library refuses.

namespace ssmax::kernels::cuda {
namespace {

class BlasTest : public ::testing::Test {
 protected:
  Tensor tensor(DType dtype, const device::Shape& shape) {
    return arena_.allocate("matrices", dtype, shape);
  }

  device::Arena arena_{device::gpu_device()};
  device::Stream stream_{arena_.device()};
};

TEST_F(BlasTest, TakesMatricesOfAnyAlignment) {
  const Tensor all = tensor(DType::f32, {64});
  for (std::int64_t begin = 0; begin < 4; ++begin) {
    EXPECT_NO_THROW(multiply(stream_, {.m = 3, .n = 2, .k = 2}, all.data<float>() + begin,
                             all.data<float>() + 16 + 2 * begin, all.data<float>() + 33 + begin));
  }
}

TEST_F(BlasTest, RefusesTypesThatTheLibraryDoesNotMultiply) {
  const Tensor a = tensor(DType::f32, {8});
  const MatrixProduct product{.m = 2, .n = 2, .k = 2, .inputs = DType::f32, .output = DType::bf16};
  EXPECT_THROW(multiply(stream_, product, a.raw(), a.raw(), a.raw()), base::Error);
}

TEST_F(BlasTest, RefusesABiasThatKernelsCannotRead) {
  const Tensor y = tensor(DType::bf16, {4, 8});
  const Tensor x = tensor(DType::bf16, {4, 8});
  const Tensor weight = tensor(DType::bf16, {8, 8});
  const Tensor biases = tensor(DType::bf16, {24});
  EXPECT_NO_THROW(kernels::linear(stream_, y, x, weight, biases.rows(8, 8)));
  EXPECT_THROW(kernels::linear(stream_, y, x, weight, biases.rows(4, 8)), base::Error);
  const MatrixProduct product{.m = 8, .n = 4, .k = 8, .inputs = DType::bf16, .output = DType::bf16};
  EXPECT_THROW(multiply(stream_, product, y.raw(), weight.raw(), x.raw(), biases.rows(4, 8).raw()),
               base::Error);
}

// An algorithm that was chosen for one alignment of the bias is not taken for another.
TEST_F(BlasTest, TakesBiasesOfSeveralAlignments) {
  const Tensor y = tensor(DType::bf16, {2, 8});
  const Tensor x = tensor(DType::bf16, {2, 8});
  const Tensor weight = tensor(DType::bf16, {8, 8});
  const Tensor biases = tensor(DType::bf16, {144});
  for (const std::int64_t begin : {128, 64, 8}) {
    EXPECT_NO_THROW(
        kernels::linear(stream_, y.rows(1, 1), x.rows(0, 1), weight, biases.rows(begin, 8)))
        << begin;
  }
}

}  // namespace
}  // namespace ssmax::kernels::cuda
