#include <algorithm>
#include <optional>
#include <vector>

#include "cublasLt.h"
#include "device/dtype.h"
#include "simt/device_memory.h"

// The matrix products of the emulated device: plain sums in f32 over k in ascending order.

namespace simt = ssmax::simt;

constexpr auto kNoType = static_cast<cudaDataType>(-1);

struct ssmax_simt_blas {
  char unused = 0;
};
struct ssmax_simt_product {
  cublasOperation_t a = CUBLAS_OP_N;
  cublasOperation_t b = CUBLAS_OP_N;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  const void* bias = nullptr;
  cudaDataType bias_type = kNoType;
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
  std::uint64_t workspace_bytes = 0;
  std::uint32_t reductions = 7;
  std::uint32_t a = 256;  // alignments that are promised
  std::uint32_t b = 256;
  std::uint32_t c = 256;
  std::uint32_t d = 256;
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

/// Sets an attribute from the bytes of its value.
template <class T>
cublasStatus_t take(T& to, const void* value, std::size_t bytes) {
  if (bytes != sizeof(to)) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&to, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

/// What an algorithm was chosen for; it need not do for anything else.
struct Choice {
  std::int32_t m, n, k;
  cudaDataType inputs, output;
  std::uint16_t a, b, c, d, bias;  // alignments; that of the bias is its pointer's, or 256
  bool a_plain, b_plain, has_bias;

  bool operator==(const Choice&) const = default;
};
static_assert(sizeof(Choice) <= sizeof(cublasLtMatmulAlgo_t));

bool is_plain(cublasOperation_t operation) { return operation == CUBLAS_OP_N; }

/// The product of these layouts, with the alignments of `preference`; null where the library has
/// none.
std::optional<Choice> choose(const ssmax_simt_product& product, const ssmax_simt_layout& a,
                             const ssmax_simt_layout& b, const ssmax_simt_layout& c,
                             const ssmax_simt_layout& d, const ssmax_simt_preference& preference) {
  const bool a_plain = is_plain(product.a);
  const bool b_plain = is_plain(product.b);
  const std::int64_t k = a_plain ? a.columns : a.rows;
  const bool fits = (a_plain ? a.rows : a.columns) == d.rows &&
                    (b_plain ? b.rows : b.columns) == k &&
                    (b_plain ? b.columns : b.rows) == d.columns && c.rows == d.rows &&
                    c.columns == d.columns && c.leading == d.leading;
  // Of f32 sums: both inputs of one type, the output of that or of f32.
  const bool has_types =
      a.type == b.type && c.type == d.type && (d.type == a.type || d.type == CUDA_R_32F);
  const bool has_bias = product.epilogue == CUBLASLT_EPILOGUE_BIAS;
  const bool bias_fits = !has_bias || product.bias_type == kNoType || product.bias_type == d.type;
  if (!fits || !has_types || !bias_fits) return std::nullopt;
  const auto address = reinterpret_cast<std::uintptr_t>(product.bias);
  const std::uintptr_t bias = has_bias && address % 256 != 0 ? address & (~address + 1) : 256;
  const auto small = [](std::int64_t value) { return static_cast<std::int32_t>(value); };
  const auto bytes = [](std::uint32_t alignment) { return static_cast<std::uint16_t>(alignment); };
  return Choice{small(d.rows),
                small(d.columns),
                small(k),
                a.type,
                d.type,
                bytes(preference.a),
                bytes(preference.b),
                bytes(preference.c),
                bytes(preference.d),
                static_cast<std::uint16_t>(bias),
                a_plain,
                b_plain,
                has_bias};
}

bool is_multiple(const void* data, std::uint32_t alignment) {
  return reinterpret_cast<std::uintptr_t>(data) % alignment == 0;
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
                                        cublasComputeType_t compute, cudaDataType scale) {
  if (compute != CUBLAS_COMPUTE_32F || scale != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
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
  switch (name) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
      return take(description->a, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB:
      return take(description->b, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      return take(description->epilogue, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      return take(description->bias, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
      return take(description->bias_type, value, bytes);
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
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t name,
                                                    const void* value, std::size_t bytes) {
  switch (name) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
      return take(preference->workspace_bytes, value, bytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
      return take(preference->reductions, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
      return take(preference->a, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
      return take(preference->b, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
      return take(preference->c, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
      return take(preference->d, value, bytes);
  }
  return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t /*handle*/,
                                              cublasLtMatmulDesc_t description,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int wanted,
                                              cublasLtMatmulHeuristicResult_t* results,
                                              int* found) {
  *found = 0;
  if (wanted < 1) return CUBLAS_STATUS_INVALID_VALUE;
  const auto choice = choose(*description, *a, *b, *c, *d, *preference);
  if (!choice) return CUBLAS_STATUS_NOT_SUPPORTED;
  std::memcpy(results[0].algo.data, &*choice, sizeof(*choice));
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
  Choice chosen;
  std::memcpy(&chosen, algorithm->data, sizeof(chosen));
  const ssmax_simt_preference promised{.a = chosen.a, .b = chosen.b, .c = chosen.c, .d = chosen.d};
  auto asked = choose(*description, *a_layout, *b_layout, *c_layout, *d_layout, promised);
  if (asked) asked->bias = chosen.bias;
  if (!asked || !(*asked == chosen) || c != d) return CUBLAS_STATUS_INVALID_VALUE;
  const bool inside =
      simt::is_device_memory(a, a_layout->bytes()) &&
      simt::is_device_memory(b, b_layout->bytes()) &&
      simt::is_device_memory(d, d_layout->bytes()) &&
      simt::is_device_memory(workspace, workspace_bytes) &&
      (!chosen.has_bias ||
       simt::is_device_memory(description->bias,
                              static_cast<std::size_t>(chosen.m * d_layout->element_bytes())));
  // The real library's kernels would fault; of a bias some ask for 16 bytes whatever was promised.
  const bool aligned = is_multiple(a, chosen.a) && is_multiple(b, chosen.b) &&
                       is_multiple(c, chosen.c) && is_multiple(d, chosen.d) &&
                       is_multiple(workspace, 256) &&
                       (!chosen.has_bias ||
                        is_multiple(description->bias, std::max<std::uint32_t>(16, chosen.bias)));
  if (!inside || !aligned) return CUBLAS_STATUS_INVALID_VALUE;
  const std::int64_t m = chosen.m;
  const std::int64_t n = chosen.n;
  const std::int64_t k = chosen.k;
  const bool a_plain = chosen.a_plain;
  const bool b_plain = chosen.b_plain;
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
