#include <algorithm>
#include <memory>
#include <optional>
#include <vector>

#include "cublasLt.h"
#include "device/dtype.h"
#include "kernels/linear/gelu_cpu.h"
#include "simt/arithmetic.h"
#include "simt/device_memory.h"

// The matrix products of the emulated device: plain sums over k in ascending order, in f32, or of
// bf16 as the matrix units add.

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
  void* aux = nullptr;  // what GELU is taken of, of the output's type
  std::int64_t aux_leading = 0;

  bool has_bias() const {
    return epilogue == CUBLASLT_EPILOGUE_BIAS || epilogue == CUBLASLT_EPILOGUE_GELU_AUX_BIAS;
  }
  bool takes_gelu() const {
    return epilogue == CUBLASLT_EPILOGUE_GELU_AUX || epilogue == CUBLASLT_EPILOGUE_GELU_AUX_BIAS;
  }
  bool has_aux() const { return takes_gelu() || epilogue == CUBLASLT_EPILOGUE_DGELU; }
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

void store(void* data, cudaDataType type, std::int64_t i, float value) {
  if (type == CUDA_R_16BF) {
    static_cast<Bf16*>(data)[i] = Bf16(value);
  } else {
    static_cast<float*>(data)[i] = value;
  }
}

float gelu(double x) {
  double out = 0.0;
  ssmax::kernels::plain::gelu(&out, &x, 1);
  return static_cast<float>(out);
}

float gelu_gradient(double x) {
  const double one = 1.0;
  double out = 0.0;
  ssmax::kernels::plain::gelu_backward(&out, &one, &x, 1);
  return static_cast<float>(out);
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

using simt::kUnitColumns;
using simt::kUnitDepth;

/// sums (n, m) of left (m, k) and right (n, k).
void multiply_f32(float* sums, const std::vector<float>& left, const std::vector<float>& right,
                  std::int64_t m, std::int64_t n, std::int64_t k) {
#pragma omp parallel for schedule(static)
  for (std::int64_t j = 0; j < n; ++j) {
    for (std::int64_t i = 0; i < m; ++i) {
      const float* x = left.data() + i * k;
      const float* y = right.data() + j * k;
      float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
      for (std::int64_t p = 0; p < k; ++p) sum += x[p] * y[p];
      sums[j * m + i] = sum;
    }
  }
}

/// The same of what was bf16.
void multiply_bf16(float* sums, const std::vector<float>& left, const std::vector<float>& right,
                   std::int64_t m, std::int64_t n, std::int64_t k) {
  const std::int64_t steps = (k + kUnitDepth - 1) / kUnitDepth;
#pragma omp parallel for schedule(static)
  for (std::int64_t first = 0; first < n; first += kUnitColumns) {
    const auto columns = static_cast<int>(std::min<std::int64_t>(kUnitColumns, n - first));
    using Block = float[kUnitDepth][kUnitColumns];
    const auto blocks = std::make_unique<Block[]>(static_cast<std::size_t>(steps));  // zeros
    for (int column = 0; column < columns; ++column) {
      for (std::int64_t p = 0; p < k; ++p) {
        blocks[static_cast<std::size_t>(p / kUnitDepth)][p % kUnitDepth][column] =
            right[static_cast<std::size_t>((first + column) * k + p)];
      }
    }
    for (std::int64_t i = 0; i < m; ++i) {
      float c[kUnitColumns] = {};
      for (std::int64_t step = 0; step < steps; ++step) {
        float a[kUnitDepth] = {};
        const float* from = left.data() + i * k + step * kUnitDepth;
        std::copy_n(from, std::min<std::int64_t>(kUnitDepth, k - step * kUnitDepth), a);
        simt::add_products(c, a, blocks[static_cast<std::size_t>(step)]);
      }
      for (int column = 0; column < columns; ++column) sums[(first + column) * m + i] = c[column];
    }
  }
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
  cublasLtEpilogue_t epilogue;
  std::uint16_t a, b, c, d, bias, aux;  // alignments; those of bias and aux their pointers', or 256
  bool a_plain, b_plain;

  bool operator==(const Choice&) const = default;
};
static_assert(sizeof(Choice) <= sizeof(cublasLtMatmulAlgo_t));

bool is_plain(cublasOperation_t operation) { return operation == CUBLAS_OP_N; }

/// Whether the epilogue has what it needs, and nothing that is not its own: what the library says
/// of CUBLASLT_MATMUL_DESC_BIAS_POINTER, _EPILOGUE_AUX_POINTER and _EPILOGUE_AUX_LD.
bool is_complete(const ssmax_simt_product& product, const ssmax_simt_layout& d) {
  if (product.has_bias() != (product.bias != nullptr)) return false;
  if (product.has_aux() != (product.aux != nullptr)) return false;
  return !product.has_aux() || (product.aux_leading >= d.rows && product.aux_leading % 8 == 0);
}

/// That of a pointer that only some products have.
std::uint16_t alignment_of(const void* data) {
  const auto address = reinterpret_cast<std::uintptr_t>(data);
  return static_cast<std::uint16_t>(address % 256 == 0 ? 256 : address & (~address + 1));
}

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
  const bool bias_fits =
      !product.has_bias() || product.bias_type == kNoType || product.bias_type == d.type;
  // The library may have none for a vector; here it has none.
  const bool is_thin = k == 1 || d.rows == 1;
  const bool has_kernel = product.epilogue == CUBLASLT_EPILOGUE_DEFAULT || !is_thin;
  if (!fits || !has_types || !bias_fits || !has_kernel) return std::nullopt;
  const auto small = [](std::int64_t value) { return static_cast<std::int32_t>(value); };
  const auto bytes = [](std::uint32_t alignment) { return static_cast<std::uint16_t>(alignment); };
  return Choice{small(d.rows),
                small(d.columns),
                small(k),
                a.type,
                d.type,
                product.epilogue,
                bytes(preference.a),
                bytes(preference.b),
                bytes(preference.c),
                bytes(preference.d),
                alignment_of(product.bias),
                alignment_of(product.aux),
                a_plain,
                b_plain};
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
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER:
      return take(description->aux, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD:
      return take(description->aux_leading, value, bytes);
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
  if (wanted < 1 || !is_complete(*description, *d)) return CUBLAS_STATUS_INVALID_VALUE;
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
  const ssmax_simt_product& product = *description;
  const ssmax_simt_preference promised{.a = chosen.a, .b = chosen.b, .c = chosen.c, .d = chosen.d};
  auto asked = choose(product, *a_layout, *b_layout, *c_layout, *d_layout, promised);
  if (asked) asked->bias = chosen.bias;
  if (asked) asked->aux = chosen.aux;
  if (!asked || !(*asked == chosen) || !is_complete(product, *d_layout) || c != d) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  const ssmax_simt_layout aux_layout{d_layout->type, d_layout->rows, d_layout->columns,
                                     product.aux_leading};
  const bool inside =
      simt::is_device_memory(a, a_layout->bytes()) &&
      simt::is_device_memory(b, b_layout->bytes()) &&
      simt::is_device_memory(d, d_layout->bytes()) &&
      simt::is_device_memory(workspace, workspace_bytes) &&
      (!product.has_bias() ||
       simt::is_device_memory(product.bias,
                              static_cast<std::size_t>(chosen.m * d_layout->element_bytes()))) &&
      (!product.has_aux() || simt::is_device_memory(product.aux, aux_layout.bytes()));
  // The real library's kernels would fault; of a bias some ask for 16 bytes whatever was promised,
  // and what is so of an aux matrix, whose leading dimension must be whole 16 bytes.
  const auto extra = [](const void* data, std::uint16_t alignment) {
    return data == nullptr || is_multiple(data, std::max<std::uint32_t>(16, alignment));
  };
  const bool aligned = is_multiple(a, chosen.a) && is_multiple(b, chosen.b) &&
                       is_multiple(c, chosen.c) && is_multiple(d, chosen.d) &&
                       is_multiple(workspace, 256) && extra(product.bias, chosen.bias) &&
                       extra(product.aux, chosen.aux);
  if (!inside || !aligned) return CUBLAS_STATUS_INVALID_VALUE;
  const std::int64_t m = chosen.m;
  const std::int64_t n = chosen.n;
  const std::int64_t k = chosen.k;
  const bool a_plain = chosen.a_plain;
  const bool b_plain = chosen.b_plain;
  const float scale = *static_cast<const float*>(alpha);
  const float keep = *static_cast<const float*>(beta);
  simt::submit(stream, [=, product = product, left_layout = *a_layout, right_layout = *b_layout,
                        out_layout = *d_layout] {
    const simt::OpenDeviceMemory open;
    const std::vector<float> left = rows_of(a, left_layout, !a_plain);   // (m, k)
    const std::vector<float> right = rows_of(b, right_layout, b_plain);  // (n, k)
    std::vector<float> sums(static_cast<std::size_t>(m * n));
    const auto multiply = left_layout.type == CUDA_R_16BF ? &multiply_bf16 : &multiply_f32;
    multiply(sums.data(), left, right, m, n, k);
#pragma omp parallel for schedule(static)
    for (std::int64_t j = 0; j < n; ++j) {
      for (std::int64_t i = 0; i < m; ++i) {
        float sum = sums[static_cast<std::size_t>(j * m + i)];
        const std::int64_t at = j * out_layout.leading + i;
        const std::int64_t aux_at = j * product.aux_leading + i;
        sum *= scale;
        if (keep != 0.0F) sum += keep * load(d, out_layout.type, at);
        if (product.has_bias()) sum += load(product.bias, out_layout.type, i);
        if (product.takes_gelu()) {
          store(product.aux, out_layout.type, aux_at, sum);
          sum = gelu(sum);
        } else if (product.has_aux()) {
          sum *= gelu_gradient(load(product.aux, out_layout.type, aux_at));
        }
        store(d, out_layout.type, at, sum);
      }
    }
  });
  return CUBLAS_STATUS_SUCCESS;
}
