#include <algorithm>
#include <sstream>
#include <utility>

#include "app/bench/timing.h"
#include "base/config.h"
#include "base/random.h"
#include "device/gpus.h"

// What the ops of the bench work on.

namespace ssmax::app {

namespace {

using device::Arena;
using device::DType;
using device::Shape;
using device::Tensor;

/// Elements that are made on the host; the rest of a tensor are copies of them.
constexpr std::int64_t kPattern = std::int64_t{1} << 20;

}  // namespace

Bench::Bench(const BenchOptions& options)
    : options_(options),
      stream_(options.device == device::DeviceKind::cuda ? device::gpu_device() : device::Device{}),
      arena_(std::make_unique<Arena>(stream_.device())),
      results_(base::JsonValue::array()) {}

Tensor Bench::tensor(const Shape& shape, DType dtype) {
  const Tensor result = arena_->allocate("bench", dtype, shape);
  if (dtype == DType::i32) return result;
  const std::int64_t elements = shape.elements();
  std::int64_t done = std::min(kPattern, elements);
  const Tensor flat = result.reshaped({elements});
  device::dispatch(dtype, [&]<class T>(device::Tag<T>) {
    std::vector<T> pattern;
    for (std::int64_t i = 0; i < done; ++i) {
      pattern.push_back(
          static_cast<T>(static_cast<float>((i * 2654435761U >> 7) % 256 - 128) / 512.0F));
    }
    device::copy(stream_, flat.rows(0, done), device::view(std::as_const(pattern).data(), {done}));
  });
  while (done < elements) {
    const std::int64_t count = std::min(done, elements - done);
    device::copy(stream_, flat.rows(done, count), flat.rows(0, count));
    done += count;
  }
  stream_.synchronize();
  return result;
}

Tensor Bench::tokens(const Shape& shape) {
  const Tensor result = tensor(shape, DType::i32);
  std::vector<std::int32_t> ids;
  for (std::int64_t i = 0; i < shape.elements(); ++i) {
    const std::uint64_t bits = base::random_bits(1, 2, static_cast<std::uint64_t>(i));
    ids.push_back(
        static_cast<std::int32_t>(bits % static_cast<std::uint64_t>(options_.vocabulary)));
  }
  device::copy(stream_, result, device::view(std::as_const(ids).data(), shape));
  stream_.synchronize();
  return result;
}

Tensor Bench::constant(const Shape& shape, double value) {
  const Tensor result = arena_->allocate("bench", DType::f32, shape);
  const std::vector<float> values(static_cast<std::size_t>(shape.elements()),
                                  static_cast<float>(value));
  device::copy(stream_, result, device::view(values.data(), shape));
  stream_.synchronize();
  return result;
}

model::ModelConfig with_normalizer(const std::string& text) {
  std::istringstream words(text);
  std::string word;
  std::getline(words, word, ':');
  std::vector<std::string> overrides = {"--normalizer.kind=" + word};
  while (std::getline(words, word, ',')) overrides.push_back("--normalizer." + word);
  return base::parse_config<model::ModelConfig>("{}", "--normalizers " + text, overrides);
}

std::string extents(std::int64_t a, std::int64_t b) {
  return std::to_string(a) + " x " + std::to_string(b);
}

double product(std::int64_t a, std::int64_t b) {
  return static_cast<double>(a) * static_cast<double>(b);
}

}  // namespace ssmax::app
