#include "kernels/linear/matrix_product.h"

#include <dnnl.hpp>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/errors.h"
#include "kernels/elements.h"
#include "kernels/rows.h"
#include "kernels/workspace.h"

namespace ssmax::kernels::cpu {

namespace {

using dnnl::memory;

struct Hash {
  std::size_t operator()(const MatrixProduct& p) const {
    std::uint64_t hash = 0xcbf29ce484222325ULL;
    const auto mix = [&](std::uint64_t value) { hash = (hash ^ value) * 0x9E3779B97F4A7C15ULL; };
    mix(static_cast<std::uint64_t>(p.m));
    mix(static_cast<std::uint64_t>(p.n) << 20);
    mix(static_cast<std::uint64_t>(p.k) << 40);
    mix(static_cast<std::uint64_t>(p.inputs) | static_cast<std::uint64_t>(p.output) << 8 |
        static_cast<std::uint64_t>(p.a_layout) << 16 |
        static_cast<std::uint64_t>(p.b_layout) << 24 | static_cast<std::uint64_t>(p.write) << 32 |
        static_cast<std::uint64_t>(p.has_bias) << 40);
    return hash ^ (hash >> 29);
  }
};

memory::data_type type_of(DType dtype) {
  return dtype == DType::bf16 ? memory::data_type::bf16 : memory::data_type::f32;
}

/// The engine of the CPU; the one place that knows which oneDNN this is compiled with.
const dnnl::engine& engine() {
  static const dnnl::engine instance(dnnl::engine::kind::cpu, 0);
  return instance;
}

/// Which of the library's two kinds of kernels multiplies.
enum class Kernel : std::uint8_t {
  blocked,  ///< copies blocks of its operands where it must; the library's first choice
  gemm,     ///< packs operands as a BLAS does; rounds to a bf16 output only after a full f32 copy
};

/// Where the sums are the output as they stand, gemm is the faster: by a tenth for f32 and a fifth
/// for weight gradients from bf16 on Zen 4. AMX is better used by the other.
Kernel kernel_for(const MatrixProduct& product) {
  if (product.output != DType::f32) return Kernel::blocked;
  if (product.inputs == DType::f32) return Kernel::gemm;
  static const bool has_amx = [] {
    const auto features = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
    const auto amx = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_amx);
    return (features & amx) == amx;
  }();
  return has_amx ? Kernel::blocked : Kernel::gemm;
}

/// A matrix as a batch of one. Blocked kernels take tightly packed batches only, so that a gap
/// behind the only matrix, where nothing lies, asks for gemm.
memory::desc describe(std::int64_t rows, std::int64_t columns, DType dtype, Layout layout,
                      Kernel kernel) {
  const std::int64_t gap = kernel == Kernel::gemm ? 64 : 0;
  const memory::dims strides = layout == Layout::row_major
                                   ? memory::dims{rows * columns + gap, columns, 1}
                                   : memory::dims{rows * columns + gap, 1, rows};
  return {{1, rows, columns}, type_of(dtype), strides};
}

memory::desc describe_output(const MatrixProduct& product, std::int64_t rows) {
  return describe(rows, product.n, product.output, Layout::row_major, Kernel::blocked);
}

dnnl::matmul::primitive_desc plan(const MatrixProduct& product, Kernel kernel) {
  const memory::desc a = describe(product.m, product.k, product.inputs, product.a_layout, kernel);
  const memory::desc b =
      describe(product.k, product.n, product.inputs, product.b_layout, Kernel::blocked);
  const memory::desc c = describe_output(product, product.m);
  const memory::desc bias = product.has_bias ? describe_output(product, 1) : memory::desc();
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (product.write == Write::add) {
    dnnl::post_ops operations;
    operations.append_sum(1.0F);
    attributes.set_post_ops(operations);
  }
#if DNNL_VERSION_MAJOR >= 3
  return {engine(), a, b, bias, c, attributes};
#else
  return {dnnl::matmul::desc(a, b, bias, c), attributes, engine()};
#endif
}

dnnl::matmul::primitive_desc plan(const MatrixProduct& product) {
  const Kernel kernel = kernel_for(product);
  dnnl::matmul::primitive_desc chosen = plan(product, kernel);
  // A version of the library without GEMM for it would answer with its plain loops.
  if (kernel == Kernel::gemm && std::string_view(chosen.impl_info_str()).starts_with("ref")) {
    return plan(product, Kernel::blocked);
  }
  return chosen;
}

/// A primitive with its arguments; only the pointers change from call to call.
class Prepared {
 public:
  explicit Prepared(const MatrixProduct& product) : Prepared(product, plan(product)) {}

  void run(void* c, const void* a, const void* b, const void* bias) {
    a_.set_data_handle(const_cast<void*>(a));
    b_.set_data_handle(const_cast<void*>(b));
    c_.set_data_handle(c);
    if (bias != nullptr) bias_.set_data_handle(const_cast<void*>(bias));
    scratch_.set_data_handle(workspace_bytes(scratch_size_));
    primitive_.execute(stream_, arguments_);
    stream_.wait();
  }

 private:
  Prepared(const MatrixProduct& product, const dnnl::matmul::primitive_desc& description)
      : primitive_(description),
        stream_(engine()),
        a_(description.src_desc(), engine(), nullptr),
        b_(description.weights_desc(), engine(), nullptr),
        c_(description.dst_desc(), engine(), nullptr),
        scratch_(description.scratchpad_desc(), engine(), nullptr),
        scratch_size_(static_cast<std::int64_t>(description.scratchpad_desc().get_size())) {
    arguments_ = {{DNNL_ARG_SRC, a_},
                  {DNNL_ARG_WEIGHTS, b_},
                  {DNNL_ARG_DST, c_},
                  {DNNL_ARG_SCRATCHPAD, scratch_}};
    if (product.has_bias) {
      bias_ = memory(describe_output(product, 1), engine(), nullptr);
      arguments_.emplace(DNNL_ARG_BIAS, bias_);
    }
  }

  dnnl::matmul primitive_;
  dnnl::stream stream_;
  memory a_, b_, c_, bias_, scratch_;
  std::int64_t scratch_size_;
  std::unordered_map<int, memory> arguments_;
};

/// Shapes of a training step are few; generation adds one for every prompt length.
constexpr std::size_t kMostPrepared = 256;

Prepared& prepared(const MatrixProduct& product) {
  thread_local std::unordered_map<MatrixProduct, std::unique_ptr<Prepared>, Hash> cache;
  const auto known = cache.find(product);
  if (known != cache.end()) return *known->second;
  if (cache.size() >= kMostPrepared) cache.clear();
  return *cache.emplace(product, std::make_unique<Prepared>(product)).first->second;
}

void widen(float* to, const void* from, std::int64_t count) {
  const auto* source = static_cast<const device::Bf16*>(from);
  device::parallel_for(count, kElementsPerTask, [&](std::int64_t begin, std::int64_t end) {
#pragma omp simd
    for (std::int64_t i = begin; i < end; ++i) to[i] = load(source[i]);
  });
}

void round_to_bf16(void* to, const float* from, std::int64_t count) {
  auto* target = static_cast<device::Bf16*>(to);
  device::parallel_for(count, kElementsPerTask, [&](std::int64_t begin, std::int64_t end) {
#pragma omp simd
    for (std::int64_t i = begin; i < end; ++i) store(target[i], from[i]);
  });
}

/// A product of bf16 inputs in f32 arithmetic: products of bf16 are exact there, so only the order
/// of the sums differs.
void multiply_in_f32(const MatrixProduct& product, void* c, const void* a, const void* b,
                     const void* bias) {
  const std::int64_t a_count = product.m * product.k;
  const std::int64_t b_count = product.k * product.n;
  const std::int64_t c_count = product.m * product.n;
  const bool rounds = product.output == DType::bf16;
  // Not the workspace: the product itself uses that.
  thread_local std::vector<float> storage;
  const auto needed =
      static_cast<std::size_t>(a_count + b_count + (rounds ? c_count + product.n : 0));
  if (storage.size() < needed) storage.resize(needed);
  float* wide_a = storage.data();
  float* wide_b = wide_a + a_count;
  float* wide_c = rounds ? wide_b + b_count : static_cast<float*>(c);
  const void* wide_bias = bias;
  widen(wide_a, a, a_count);
  widen(wide_b, b, b_count);
  if (rounds && product.write == Write::add) widen(wide_c, c, c_count);
  if (rounds && bias != nullptr) {
    widen(wide_c + c_count, bias, product.n);
    wide_bias = wide_c + c_count;
  }
  MatrixProduct wide = product;
  wide.inputs = DType::f32;
  wide.output = DType::f32;
  prepared(wide).run(wide_c, wide_a, wide_b, wide_bias);
  if (rounds) round_to_bf16(c, wide_c, c_count);
}

}  // namespace

// They need AVX-512 or AMX; the library is asked, with a product of the smallest size.
bool processor_multiplies_bf16() {
  static const bool answer = [] {
    try {
      plan({.m = 1, .n = 1, .k = 1, .inputs = DType::bf16, .output = DType::bf16});
      return true;
    } catch (const dnnl::error&) {
      return false;
    }
  }();
  return answer;
}

void multiply(const MatrixProduct& product, void* c, const void* a, const void* b,
              const void* bias) {
  try {
    if (product.inputs == DType::bf16 && !processor_multiplies_bf16()) {
      multiply_in_f32(product, c, a, b, bias);
    } else {
      prepared(product).run(c, a, b, bias);
    }
  } catch (const dnnl::error& error) {
    throw base::Error(base::ErrorKind::device,
                      "the matrix product (" + std::to_string(product.m) + ", " +
                          std::to_string(product.k) + ") x (" + std::to_string(product.k) + ", " +
                          std::to_string(product.n) + ") failed in oneDNN: " + error.what());
  }
}

}  // namespace ssmax::kernels::cpu
