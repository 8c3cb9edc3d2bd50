#include "kernels/linear/matrix_product_cuda.h"

#include <cublasLt.h>

#include <algorithm>
#include <compare>
#include <map>
#include <mutex>
#include <string>

#include "base/errors.h"
#include "device/cuda_check.h"
#include "device/queue.h"
#include "device/workspace_cuda.h"

namespace ssmax::kernels::cuda {

namespace {

std::string text_of(const MatrixProduct& product) {
  return "matrix product (" + std::to_string(product.m) + ", " + std::to_string(product.k) +
         ") x (" + std::to_string(product.k) + ", " + std::to_string(product.n) + ")";
}

void check(cublasStatus_t status, const char* call) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw base::Error(base::ErrorKind::device,
                    std::string("cuBLASLt: ") + cublasLtGetStatusString(status) + " in " + call);
}

/// A handle of the library's descriptors.
template <class T, cublasStatus_t (*kDestroy)(T)>
class Handle {
 public:
  Handle() = default;
  ~Handle() {
    if (value_ != nullptr) kDestroy(value_);
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  T* address() { return &value_; }
  T get() const { return value_; }

 private:
  T value_ = nullptr;
};

using Description = Handle<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using LayoutHandle = Handle<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using Preference = Handle<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

cudaDataType type_of(DType dtype) { return dtype == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F; }

cublasOperation_t operation_of(Operation operation) {
  return operation == Operation::plain ? CUBLAS_OP_N : CUBLAS_OP_T;
}

/// The largest power of two up to 256 that divides the address; 0 for null.
std::uint32_t alignment_of(const void* data) {
  const auto address = reinterpret_cast<std::uintptr_t>(data);
  return static_cast<std::uint32_t>(std::min<std::uintptr_t>(256, address & (~address + 1)));
}

/// What the kernel of a product does with its results before it stores them.
enum class Epilogue : std::uint8_t { none, gelu, gelu_gradient };

struct Operands {
  void* c;
  const void* a;
  const void* b;
  const void* bias = nullptr;
  const void* preactivation = nullptr;  // which gelu writes
};

struct Alignments {
  std::uint32_t a, b, c, bias, preactivation;
  auto operator<=>(const Alignments&) const = default;
};

struct Key {
  std::int64_t m, n, k;
  DType inputs, output;
  Operation a, b;
  Write write;
  Epilogue epilogue;
  bool has_bias;
  Alignments alignments;
  int gpu;
  auto operator<=>(const Key&) const = default;
};

cublasLtEpilogue_t epilogue_of(const Key& key) {
  switch (key.epilogue) {
    case Epilogue::gelu:
      return key.has_bias ? CUBLASLT_EPILOGUE_GELU_AUX_BIAS : CUBLASLT_EPILOGUE_GELU_AUX;
    case Epilogue::gelu_gradient:
      return CUBLASLT_EPILOGUE_DGELU;
    case Epilogue::none:
      break;
  }
  return key.has_bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
}

template <class T>
void set(const Description& description, cublasLtMatmulDescAttributes_t name, const T& value) {
  check(cublasLtMatmulDescSetAttribute(description.get(), name, &value, sizeof(value)),
        "cublasLtMatmulDescSetAttribute");
}

template <class T>
void set(const Preference& preference, cublasLtMatmulPreferenceAttributes_t name, const T& value) {
  check(cublasLtMatmulPreferenceSetAttribute(preference.get(), name, &value, sizeof(value)),
        "cublasLtMatmulPreferenceSetAttribute");
}

void create(LayoutHandle& layout, DType dtype, std::int64_t rows, std::int64_t columns) {
  check(
      cublasLtMatrixLayoutCreate(layout.address(), type_of(dtype), static_cast<std::uint64_t>(rows),
                                 static_cast<std::uint64_t>(columns), rows),
      "cublasLtMatrixLayoutCreate");
}

/// The description of one product, its algorithm chosen where there is one.
class Prepared {
 public:
  Prepared(cublasLtHandle_t library, const Key& key, const Operands& operands) {
    check(cublasLtMatmulDescCreate(description_.address(), CUBLAS_COMPUTE_32F, CUDA_R_32F),
          "cublasLtMatmulDescCreate");
    set(description_, CUBLASLT_MATMUL_DESC_TRANSA, operation_of(key.a));
    set(description_, CUBLASLT_MATMUL_DESC_TRANSB, operation_of(key.b));
    set(description_, CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue_of(key));
    if (key.has_bias) {
      set(description_, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, type_of(key.output));
    }
    if (key.epilogue != Epilogue::none) {
      set(description_, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, key.m);
    }
    point_to(operands);  // tells alignments
    const bool a_plain = key.a == Operation::plain;
    const bool b_plain = key.b == Operation::plain;
    create(a_, key.inputs, a_plain ? key.m : key.k, a_plain ? key.k : key.m);
    create(b_, key.inputs, b_plain ? key.k : key.n, b_plain ? key.n : key.k);
    create(c_, key.output, key.m, key.n);
    choose(library, key);
  }

  bool has_algorithm() const { return has_algorithm_; }

  void run(cublasLtHandle_t library, Stream& stream, Write write, const Operands& operands) {
    point_to(operands);
    const float alpha = 1.0F;
    const float beta = write == Write::add ? 1.0F : 0.0F;
    void* workspace = device::cuda::workspace(stream, kMatrixProductWorkspace);
    check(cublasLtMatmul(library, description_.get(), &alpha, operands.a, a_.get(), operands.b,
                         b_.get(), &beta, operands.c, c_.get(), operands.c, c_.get(), &algorithm_,
                         workspace, static_cast<std::size_t>(kMatrixProductWorkspace),
                         device::cuda::native(stream)),
          "cublasLtMatmul");
  }

 private:
  void point_to(const Operands& operands) {
    if (operands.bias != nullptr) {
      set(description_, CUBLASLT_MATMUL_DESC_BIAS_POINTER, operands.bias);
    }
    if (operands.preactivation != nullptr) {
      set(description_, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, operands.preactivation);
    }
  }

  void choose(cublasLtHandle_t library, const Key& key) {
    Preference preference;
    check(cublasLtMatmulPreferenceCreate(preference.address()), "cublasLtMatmulPreferenceCreate");
    set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
        static_cast<std::uint64_t>(kMatrixProductWorkspace));
    // Parts of k that several blocks sum are added up in f32 and in one order, or not at all.
    set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
        static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
    set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, key.alignments.a);
    set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, key.alignments.b);
    set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, key.alignments.c);
    set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, key.alignments.c);
    cublasLtMatmulHeuristicResult_t best{};
    int found = 0;
    const cublasStatus_t status =
        cublasLtMatmulAlgoGetHeuristic(library, description_.get(), a_.get(), b_.get(), c_.get(),
                                       c_.get(), preference.get(), 1, &best, &found);
    if (status != CUBLAS_STATUS_NOT_SUPPORTED) check(status, "cublasLtMatmulAlgoGetHeuristic");
    has_algorithm_ = found > 0;
    algorithm_ = best.algo;
  }

  Description description_;
  LayoutHandle a_, b_, c_;
  cublasLtMatmulAlgo_t algorithm_{};
  bool has_algorithm_ = false;
};

/// Shapes of a training step are few; generation adds one for every prompt length.
constexpr std::size_t kMostPrepared = 512;

/// The library's handle of a GPU and what was prepared for it.
struct Library {
  std::mutex mutex;
  std::map<int, cublasLtHandle_t> handles;
  std::map<Key, Prepared> prepared;

  cublasLtHandle_t handle(int gpu) {
    const auto known = handles.find(gpu);
    if (known != handles.end()) return known->second;
    cublasLtHandle_t created = nullptr;
    check(cublasLtCreate(&created), "cublasLtCreate");
    return handles.emplace(gpu, created).first->second;
  }
};

/// Never destroyed: the driver may be gone before static objects are.
Library& library() {
  static auto& instance = *new Library;
  return instance;
}

/// Whether the library has an algorithm, which is then run.
bool run(Stream& stream, const MatrixProduct& product, Epilogue epilogue,
         const Operands& operands) {
  const Key key{product.m,
                product.n,
                product.k,
                product.inputs,
                product.output,
                product.a,
                product.b,
                product.write,
                epilogue,
                operands.bias != nullptr,
                {alignment_of(operands.a), alignment_of(operands.b), alignment_of(operands.c),
                 alignment_of(operands.bias), alignment_of(operands.preactivation)},
                stream.device().index};
  device::cuda::use(key.gpu);
  Library& all = library();
  const std::lock_guard lock(all.mutex);
  try {
    const cublasLtHandle_t handle = all.handle(key.gpu);
    if (all.prepared.size() >= kMostPrepared && !all.prepared.contains(key)) all.prepared.clear();
    Prepared& prepared = all.prepared.try_emplace(key, handle, key, operands).first->second;
    if (prepared.has_algorithm()) prepared.run(handle, stream, product.write, operands);
    return prepared.has_algorithm();
  } catch (const base::Error& error) {
    throw error.within(text_of(product));
  }
}

/// The library's own conditions: bf16, since GELU of f32 is there to be exact and not fast, rows of
/// the preactivation of whole 16 bytes, and its first at a multiple of that.
bool run_with_gelu(Stream& stream, const MatrixProduct& product, Epilogue epilogue,
                   const Operands& operands) {
  return product.inputs == DType::bf16 && product.output == DType::bf16 && product.m % 8 == 0 &&
         alignment_of(operands.preactivation) >= 16 && run(stream, product, epilogue, operands);
}

}  // namespace

void multiply(Stream& stream, const MatrixProduct& product, void* c, const void* a, const void* b,
              const void* bias) {
  if (run(stream, product, Epilogue::none, {c, a, b, bias})) return;
  throw base::Error(
      base::ErrorKind::device,
      text_of(product) + ": cuBLASLt has no algorithm for it on this GPU; use training.device=cpu");
}

bool multiply_with_gelu(Stream& stream, const MatrixProduct& product, void* c, void* preactivation,
                        const void* a, const void* b, const void* bias) {
  return run_with_gelu(stream, product, Epilogue::gelu, {c, a, b, bias, preactivation});
}

bool multiply_with_gelu_gradient(Stream& stream, const MatrixProduct& product, void* c,
                                 const void* preactivation, const void* a, const void* b) {
  return run_with_gelu(stream, product, Epilogue::gelu_gradient, {c, a, b, nullptr, preactivation});
}

}  // namespace ssmax::kernels::cuda
