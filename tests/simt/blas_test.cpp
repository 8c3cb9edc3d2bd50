#include <cublasLt.h>
#include <gtest/gtest.h>

#include "base/errors.h"
#include "device/arena.h"
#include "device/gpus.h"
#include "device/queue.h"
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

/// A product (16, 8) x (8, 4) of bf16 with a GELU that keeps what it is taken of.
struct GeluProduct {
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_GELU_AUX_BIAS;
  const void* bias = nullptr;
  const void* aux = nullptr;
  std::int64_t aux_leading = 16;
  cudaDataType output = CUDA_R_16BF;

  /// Asks for an algorithm and, when there is one, runs it with `aux_then`.
  cublasStatus_t run(Stream& stream, void* d, const void* a, const void* b, void* workspace,
                     const void* aux_then) const {
    cublasLtHandle_t library = nullptr;
    cublasLtMatmulDesc_t product = nullptr;
    cublasLtMatrixLayout_t of_a = nullptr;
    cublasLtMatrixLayout_t of_b = nullptr;
    cublasLtMatrixLayout_t of_d = nullptr;
    cublasLtMatmulPreference_t preference = nullptr;
    cublasLtCreate(&library);
    cublasLtMatmulDescCreate(&product, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    const auto set = [&](cublasLtMatmulDescAttributes_t name, const auto& value) {
      cublasLtMatmulDescSetAttribute(product, name, &value, sizeof(value));
    };
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
    set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
    set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, aux);
    set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, aux_leading);
    cublasLtMatrixLayoutCreate(&of_a, CUDA_R_16BF, 16, 8, 16);
    cublasLtMatrixLayoutCreate(&of_b, CUDA_R_16BF, 8, 4, 8);
    cublasLtMatrixLayoutCreate(&of_d, output, 16, 4, 16);
    cublasLtMatmulPreferenceCreate(&preference);
    for (const auto name :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
      const std::uint32_t bytes = 16;
      cublasLtMatmulPreferenceSetAttribute(preference, name, &bytes, sizeof(bytes));
    }
    cublasLtMatmulHeuristicResult_t best{};
    int found = 0;
    cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(library, product, of_a, of_b, of_d, of_d,
                                                           preference, 1, &best, &found);
    if (status == CUBLAS_STATUS_SUCCESS) {
      const float one = 1.0F;
      const float zero = 0.0F;
      set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, aux_then);
      status = cublasLtMatmul(library, product, &one, a, of_a, b, of_b, &zero, d, of_d, d, of_d,
                              &best.algo, workspace, 256, device::cuda::native(stream));
    }
    cublasLtMatmulPreferenceDestroy(preference);
    for (auto* layout : {of_a, of_b, of_d}) cublasLtMatrixLayoutDestroy(layout);
    cublasLtMatmulDescDestroy(product);
    return status;
  }
};

// What cuBLASLt's documentation and its log ask of these epilogues.
TEST_F(BlasTest, RefusesEpiloguesThatTheLibraryRefuses) {
  const Tensor a = tensor(DType::bf16, {8, 16});
  const Tensor b = tensor(DType::bf16, {4, 8});
  const Tensor d = tensor(DType::bf16, {4, 16});
  const Tensor aux = tensor(DType::bf16, {256});
  const Tensor bias = tensor(DType::bf16, {16});
  const Tensor workspace = tensor(DType::bf16, {128});
  const GeluProduct sound{.bias = bias.raw(), .aux = aux.raw()};
  const auto run = [&](const GeluProduct& product, std::int64_t moved = 0) {
    const auto* then = static_cast<const char*>(product.aux) + (product.aux == nullptr ? 0 : moved);
    return product.run(stream_, d.raw(), a.raw(), b.raw(), workspace.raw(), then);
  };
  EXPECT_EQ(run(sound), CUBLAS_STATUS_SUCCESS);
  GeluProduct product = sound;
  product.aux_leading = 24;
  EXPECT_EQ(run(product), CUBLAS_STATUS_SUCCESS);
  for (const std::int64_t leading : {0, 8, 17, 20}) {
    product.aux_leading = leading;
    EXPECT_NE(run(product), CUBLAS_STATUS_SUCCESS) << "leading dimension " << leading;
  }
  product = sound;
  product.aux = nullptr;
  EXPECT_NE(run(product), CUBLAS_STATUS_SUCCESS) << "no matrix";
  product = sound;
  product.bias = nullptr;
  EXPECT_NE(run(product), CUBLAS_STATUS_SUCCESS) << "no bias";
  product.epilogue = CUBLASLT_EPILOGUE_GELU_AUX;
  EXPECT_EQ(run(product), CUBLAS_STATUS_SUCCESS);
  product.bias = bias.raw();
  EXPECT_NE(run(product), CUBLAS_STATUS_SUCCESS) << "a bias that is not added";
  product.epilogue = CUBLASLT_EPILOGUE_DGELU;
  EXPECT_NE(run(product), CUBLAS_STATUS_SUCCESS) << "a bias that is not added";
  product.bias = nullptr;
  EXPECT_EQ(run(product), CUBLAS_STATUS_SUCCESS);
  product.epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  EXPECT_NE(run(product), CUBLAS_STATUS_SUCCESS) << "a matrix that is not used";
  // Less aligned than when the algorithm was chosen, and too little in any case.
  EXPECT_NE(run(sound, 16), CUBLAS_STATUS_SUCCESS) << "16 bytes of 256";
  product = sound;
  product.aux = aux.rows(4, 100).raw();
  EXPECT_NE(run(product), CUBLAS_STATUS_SUCCESS) << "8 bytes";
  product.aux = aux.rows(200, 8).raw();
  EXPECT_NE(run(product), CUBLAS_STATUS_SUCCESS) << "beyond the memory";
  stream_.synchronize();
}

TEST_F(BlasTest, FusesGeluWhereRowsAreWhole16Bytes) {
  const Tensor y = tensor(DType::bf16, {4, 16});
  const Tensor kept = tensor(DType::bf16, {80});
  const Tensor x = tensor(DType::bf16, {4, 8});
  const Tensor weight = tensor(DType::bf16, {16, 8});
  const MatrixProduct product{.m = 16,
                              .n = 4,
                              .k = 8,
                              .inputs = DType::bf16,
                              .output = DType::bf16,
                              .a = Operation::transposed};
  const auto fuses = [&](const MatrixProduct& wanted, const Tensor& preactivation) {
    return multiply_with_gelu(stream_, wanted, y.raw(), preactivation.raw(), weight.raw(), x.raw(),
                              nullptr);
  };
  EXPECT_TRUE(fuses(product, kept));
  EXPECT_TRUE(fuses(product, kept.rows(8, 64)));
  EXPECT_FALSE(fuses(product, kept.rows(4, 64)));
  MatrixProduct narrow = product;
  narrow.m = 12;
  EXPECT_FALSE(fuses(narrow, kept));
  narrow = product;
  narrow.k = 1;  // the emulated library has none
  EXPECT_FALSE(fuses(narrow, kept));
  EXPECT_FALSE(fuses(narrow, kept)) << "asked once more";
  stream_.synchronize();
}

}  // namespace
}  // namespace ssmax::kernels::cuda
