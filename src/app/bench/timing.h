#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "device/arena.h"
#include "device/stream.h"

namespace ssmax::app {

struct BenchOptions {
  std::vector<std::string> ops;  // empty: all
  std::int64_t tokens = 1024;
  std::int64_t sequence_length = 256;
  std::int64_t hidden = 768;
  std::int64_t intermediate = 2048;
  std::int64_t heads = 12;
  std::int64_t layers = 6;
  std::int64_t vocabulary = 50257;
  std::vector<std::string> normalizers = {"softmax", "softmax", "ssmax", "self_adjust"};
  int rounds = 12;
  std::string dtype = "bf16";
  double seconds = 0.3;
  int threads = 0;
};

/// One thing to time: what it must move (each byte once) or multiply.
struct Timing {
  std::string name;
  std::string shape;
  std::function<void()> run;
  double bytes = 0.0;
  double operations = 0.0;  // of matrix products; counted instead of bytes when above 0
};

/// Makes tensors and times ops; owns the memory of one op.
class Bench {
 public:
  explicit Bench(const BenchOptions& options);

  const BenchOptions& options() const { return options_; }
  /// Prints the limits of the machine, once, before the first op that is held against them.
  void measure_limits();
  void report(const Timing& timing) const;
  /// Frees the tensors.
  void finish() { arena_ = std::make_unique<device::Arena>(); }

  /// Small numbers, so that sums over many calls stay finite.
  device::Tensor tensor(const device::Shape& shape, device::DType dtype) const;
  device::Tensor activation(const device::Shape& shape) const { return tensor(shape, dtype_); }
  device::Tensor f32(const device::Shape& shape) const { return tensor(shape, device::DType::f32); }
  device::Tensor tokens(const device::Shape& shape) const;

  device::DType activation_dtype() const { return dtype_; }
  double element_bytes() const { return static_cast<double>(device::size_of(dtype_)); }
  device::Stream& stream() { return stream_; }

 private:
  BenchOptions options_;
  device::DType dtype_;
  double bandwidth_ = 0.0;      // bytes per second; 0: not measured yet
  double product_limit_ = 0.0;  // GF/s
  std::unique_ptr<device::Arena> arena_;
  device::Stream stream_;
};

/// "a x b"
std::string extents(std::int64_t a, std::int64_t b);
/// a b as a count of elements or operations
double product(std::int64_t a, std::int64_t b);

/// An op of `ssmax bench` by its name.
struct BenchOp {
  const char* name;
  void (*run)(Bench& bench);
};

/// One per op, in the files of this folder.
void bench_linear(Bench& bench);
void bench_rms_norm(Bench& bench);
void bench_layer_norm(Bench& bench);
void bench_swiglu(Bench& bench);
void bench_gelu(Bench& bench);
void bench_cast(Bench& bench);
void bench_add(Bench& bench);
void bench_rope(Bench& bench);
void bench_embedding(Bench& bench);
void bench_cross_entropy(Bench& bench);
void bench_norm_squared(Bench& bench);
void bench_adamw(Bench& bench);
void bench_attention(Bench& bench);
void bench_step(Bench& bench);

}  // namespace ssmax::app
