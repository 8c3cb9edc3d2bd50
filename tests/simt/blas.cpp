#include <algorithm>
#include <vector>

#include "cublasLt.h"
#include "device/dtype.h"
#include "simt/device_memory.h"

// The matrix products of the emulated device: plain sums in f32 over k in ascending order.

namespace simt = ssmax::simt;

struct ssmax_simt_blas {
  char unused = 0;
};
struct ssmax_simt_product {
  cublasOperation_t a = CUBLAS_OP_N;
  cublasOperation_t b = CUBLAS_OP_N;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  const void* bias = nullptr;
};
struct ssmax_simt_layout {
  cudaDataType type = CUDA_R_32F;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t leading = 0;

  std::int64_t element_bytes() const { return type == CUDA_R_16BF ? 2 : 4; }
  std::size_t bytes() const {
    return static_cast<std::size_t>(((columns - 1) * leading + rows) * element_bytes());
  }
};
struct ssmax_simt_preference {
  char unused = 0;
};

namespace {

using ssmax::device::Bf16;

float load(const void* data, cudaDataType type, std::int64_t i) {
  if (type == CUDA_R_16BF) return static_cast<float>(static_cast<const Bf16*>(data)[i]);
  return static_cast<const float*>(data)[i];
}

/// op(X) as rows of floats: element (i, j) at i * columns + j, or its transpose.
std::vector<float> rows_of(const void* data, const ssmax_simt_layout& layout, bool transpose) {
  std::vector<float> result(static_cast<std::size_t>(layout.rows * layout.columns));
  for (std::int64_t j = 0; j < layout.columns; ++j) {
    for (std::int64_t i = 0; i < layout.rows; ++i) {
      const std::int64_t at = transpose ? j * layout.rows + i : i * layout.columns + j;
      result[static_cast<std::size_t>(at)] = load(data, layout.type, j * layout.leading + i);
    }
  }
  return result;
}

}  // namespace

const char* cublasLtGetStatusString(cublasStatus_t status) {
  return status == CUBLAS_STATUS_SUCCESS ? "success" : "refused by the emulated device";
}
cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  *handle = new ssmax_simt_blas;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* description,
                                        cublasComputeType_t /*compute*/, cudaDataType /*scale*/) {
  *description = new ssmax_simt_product;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t description) {
  delete description;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t description,
                                              cublasLtMatmulDescAttributes_t name,
                                              const void* value, std::size_t bytes) {
  const auto take = [&](auto& to) {
    if (bytes != sizeof(to)) return CUBLAS_STATUS_INVALID_VALUE;
    std::memcpy(&to, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
  };
  switch (name) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
      return take(description->a);
    case CUBLASLT_MATMUL_DESC_TRANSB:
      return take(description->b);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      return take(description->epilogue);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      return take(description->bias);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
      return CUBLAS_STATUS_SUCCESS;  // that of the output
  }
  return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type,
                                          std::uint64_t rows, std::uint64_t columns,
                                          std::int64_t leading) {
  if (rows == 0 || columns == 0 || leading < static_cast<std::int64_t>(rows)) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  *layout = new ssmax_simt_layout{type, static_cast<std::int64_t>(rows),
                                  static_cast<std::int64_t>(columns), leading};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  delete layout;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  *preference = new ssmax_simt_preference;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  delete preference;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t /*preference*/,
                                                    cublasLtMatmulPreferenceAttributes_t /*name*/,
                                                    const void* /*value*/, std::size_t /*bytes*/) {
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(
    cublasLtHandle_t /*handle*/, cublasLtMatmulDesc_t /*description*/, cublasLtMatrixLayout_t /*a*/,
    cublasLtMatrixLayout_t /*b*/, cublasLtMatrixLayout_t /*c*/, cublasLtMatrixLayout_t /*d*/,
    cublasLtMatmulPreference_t /*preference*/, int /*wanted*/,
    cublasLtMatmulHeuristicResult_t* results, int* found) {
  results[0].algo.chosen = 1;
  *found = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t /*handle*/, cublasLtMatmulDesc_t description,
                              const void* alpha, const void* a, cublasLtMatrixLayout_t a_layout,
                              const void* b, cublasLtMatrixLayout_t b_layout, const void* beta,
                              const void* c, cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t d_layout,
                              const cublasLtMatmulAlgo_t* algorithm, void* workspace,
                              std::size_t workspace_bytes, cudaStream_t stream) {
  const bool a_plain = description->a == CUBLAS_OP_N;
  const bool b_plain = description->b == CUBLAS_OP_N;
  const std::int64_t m = d_layout->rows;
  const std::int64_t n = d_layout->columns;
  const std::int64_t k = a_plain ? a_layout->columns : a_layout->rows;
  const bool fits = (a_plain ? a_layout->rows : a_layout->columns) == m &&
                    (b_plain ? b_layout->rows : b_layout->columns) == k &&
                    (b_plain ? b_layout->columns : b_layout->rows) == n && c == d &&
                    c_layout->rows == m && c_layout->columns == n && algorithm->chosen == 1;
  const bool inside =
      simt::is_device_memory(a, a_layout->bytes()) &&
      simt::is_device_memory(b, b_layout->bytes()) &&
      simt::is_device_memory(d, d_layout->bytes()) &&
      simt::is_device_memory(workspace, workspace_bytes) &&
      (description->epilogue != CUBLASLT_EPILOGUE_BIAS ||
       simt::is_device_memory(description->bias,
                              static_cast<std::size_t>(m * d_layout->element_bytes())));
  if (!fits || !inside) return CUBLAS_STATUS_INVALID_VALUE;
  const float scale = *static_cast<const float*>(alpha);
  const float keep = *static_cast<const float*>(beta);
  simt::submit(stream, [=, product = *description, left_layout = *a_layout,
                        right_layout = *b_layout, out_layout = *d_layout] {
    const simt::OpenDeviceMemory open;
    const std::vector<float> left = rows_of(a, left_layout, !a_plain);   // (m, k)
    const std::vector<float> right = rows_of(b, right_layout, b_plain);  // (n, k)
#pragma omp parallel for schedule(static)
    for (std::int64_t j = 0; j < n; ++j) {
      for (std::int64_t i = 0; i < m; ++i) {
        const float* x = left.data() + i * k;
        const float* y = right.data() + j * k;
        float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
        for (std::int64_t p = 0; p < k; ++p) sum += x[p] * y[p];
        sum *= scale;
        if (product.epilogue == CUBLASLT_EPILOGUE_BIAS) {
          sum += load(product.bias, out_layout.type, i);
        }
        const std::int64_t at = j * out_layout.leading + i;
        if (keep != 0.0F) sum += keep * load(d, out_layout.type, at);
        if (out_layout.type == CUDA_R_16BF) {
          static_cast<Bf16*>(d)[at] = Bf16(sum);
        } else {
          static_cast<float*>(d)[at] = sum;
        }
      }
    }
  });
  return CUBLAS_STATUS_SUCCESS;
}
