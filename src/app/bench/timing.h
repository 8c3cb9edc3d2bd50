#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "app/choice.h"
#include "base/json_value.h"
#include "device/arena.h"
#include "device/stream.h"
#include "kernels/attention/attention_form.h"
#include "kernels/linear/gelu_fusion.h"
#include "model/model_config.h"

namespace ssmax::app {

enum class Architecture : std::uint8_t { llama, gpt2 };
inline constexpr auto kArchitectures = std::to_array<base::EnumName<Architecture>>(
    {{Architecture::llama, "llama"}, {Architecture::gpt2, "gpt2"}});
inline constexpr auto kGeluFusions =
    std::to_array<base::EnumName<kernels::GeluFusion>>({{kernels::GeluFusion::automatic, "auto"},
                                                        {kernels::GeluFusion::on, "on"},
                                                        {kernels::GeluFusion::off, "off"}});
inline constexpr auto kAttentionForms = std::to_array<base::EnumName<kernels::AttentionForm>>(
    {{kernels::AttentionForm::automatic, "auto"},
     {kernels::AttentionForm::mma, "mma"},
     {kernels::AttentionForm::wgmma, "wgmma"}});

struct BenchOptions {
  std::vector<std::string> ops;  // empty: all
  std::int64_t tokens = 1024;
  std::int64_t sequence_length = 256;
  std::int64_t hidden = 768;
  std::int64_t intermediate = 2048;
  std::int64_t heads = 12;
  std::int64_t layers = 6;
  std::int64_t vocabulary = 50257;
  std::vector<std::string> normalizers;             // empty: each op's own choice
  Architecture architecture = Architecture::llama;  // of step
  std::vector<kernels::GeluFusion> gelu_fusion = {kernels::GeluFusion::automatic};  // of step
  /// Of attention and step.
  std::vector<kernels::AttentionForm> attention_form = {kernels::AttentionForm::automatic};
  int rounds = 12;
  device::DType dtype = device::DType::bf16;
  double seconds = 0.3;
  int threads = 0;
  device::DeviceKind device = device::DeviceKind::cpu;
  std::string json;  // file for the results, or empty
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
  void report(const Timing& timing);
  /// Adds a line to the file of results.
  void record(base::JsonValue line) { results_.items.push_back(std::move(line)); }
  void write_results() const;
  /// Frees the tensors.
  void finish() { arena_ = std::make_unique<device::Arena>(stream_.device()); }

  /// Small numbers, so that sums over many calls stay finite.
  device::Tensor tensor(const device::Shape& shape, device::DType dtype);
  device::Tensor activation(const device::Shape& shape) { return tensor(shape, options_.dtype); }
  device::Tensor f32(const device::Shape& shape) { return tensor(shape, device::DType::f32); }
  device::Tensor tokens(const device::Shape& shape);
  /// f32, `value` everywhere.
  device::Tensor constant(const device::Shape& shape, double value);

  device::DType activation_dtype() const { return options_.dtype; }
  double element_bytes() const { return static_cast<double>(device::size_of(options_.dtype)); }
  device::Stream& stream() { return stream_; }
  bool on_gpu() const { return stream_.device().kind == device::DeviceKind::cuda; }
  /// FLOP/s of matrix products; 0: not measured.
  double product_limit() const { return product_limit_; }

 private:
  double best_seconds(const std::function<void()>& run, double budget);
  double measured_bandwidth();

  BenchOptions options_;
  double bandwidth_ = 0.0;      // bytes per second; 0: not measured yet
  double product_limit_ = 0.0;  // FLOP/s
  device::Stream stream_;
  std::unique_ptr<device::Arena> arena_;
  base::JsonValue results_;
};

/// The model section that asks for a normalizer written as KIND or KIND:option=value,option=value.
model::ModelConfig with_normalizer(const std::string& text);

/// "", or ", mma" for a form that is not left to the program.
std::string suffix(kernels::AttentionForm form);

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
void bench_linear_gelu(Bench& bench);
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
