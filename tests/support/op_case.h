#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/random.h"
#include "device/arena.h"
#include "device/parallel.h"
#include "device/stream.h"
#include "device/tensor.h"
#include "support/test_device.h"

// One description of an op's call gives, on the device of the test program: agreement with the
// double reference of the CPU, untouched inputs, untouched memory around every tensor, equal bits
// at a repeat and, on a CPU where the contract fixes the order of sums, on one, two and three
// threads.

namespace ssmax::testing {

using device::ConstTensor;
using device::DType;
using device::Shape;
using device::Stream;
using device::Tensor;

inline constexpr DType kActivationTypes[] = {DType::f32, DType::bf16, DType::f64};

/// The floating dtypes of the test's device: f64 is the CPU's alone.
inline std::vector<DType> activation_types() {
  if (!on_cpu()) return {DType::f32, DType::bf16};
  return {DType::f32, DType::bf16, DType::f64};
}

/// A tensor between two guards. All bytes start as 0xff: NaN in every floating dtype.
class GuardedTensor {
 public:
  GuardedTensor(DType dtype, const Shape& shape, device::Device device = {})
      : bytes_(shape.elements() * device::size_of(dtype)),
        rear_(device.kind == device::DeviceKind::cuda && is_emulated() ? 0 : kGuard),
        arena_(std::make_unique<device::Arena>(device)),
        stream_(std::make_unique<Stream>(device)) {
    // As f64 for its alignment; the guard is a multiple of it.
    const std::int64_t all = kGuard + bytes_ + rear_;
    storage_ = arena_->allocate("guarded tensor", DType::bf16, {(all + 1) / 2});
    std::string start(static_cast<std::size_t>(storage_.bytes()), kPattern);
    start.replace(kGuard, static_cast<std::size_t>(bytes_), static_cast<std::size_t>(bytes_),
                  '\xff');
    write(storage_, start);
    tensor_ = Tensor(static_cast<char*>(storage_.raw()) + kGuard, dtype, shape, device);
  }

  const Tensor& tensor() const { return tensor_; }

  /// Rounds every value to the dtype.
  void set(const std::vector<double>& values) const {
    ASSERT_EQ(static_cast<std::int64_t>(values.size()), tensor_.elements());
    std::string bytes(static_cast<std::size_t>(bytes_), '\0');
    for (std::size_t i = 0; i < values.size(); ++i) {
      switch (tensor_.dtype()) {
        case DType::f32:
          put(bytes, i, static_cast<float>(values[i]));
          break;
        case DType::bf16:
          put(bytes, i, device::Bf16(values[i]));
          break;
        case DType::f64:
          put(bytes, i, values[i]);
          break;
        case DType::i32:
          put(bytes, i, static_cast<std::int32_t>(values[i]));
          break;
      }
    }
    write(tensor_, bytes);
  }

  std::vector<double> get() const {
    const std::string bytes = bits();
    std::vector<double> values(static_cast<std::size_t>(tensor_.elements()));
    for (std::size_t i = 0; i < values.size(); ++i) {
      switch (tensor_.dtype()) {
        case DType::f32:
          values[i] = static_cast<double>(take<float>(bytes, i));
          break;
        case DType::bf16:
          values[i] = static_cast<double>(take<device::Bf16>(bytes, i));
          break;
        case DType::f64:
          values[i] = take<double>(bytes, i);
          break;
        case DType::i32:
          values[i] = take<std::int32_t>(bytes, i);
          break;
      }
    }
    return values;
  }

  std::string bits() const { return all_bytes().substr(kGuard, static_cast<std::size_t>(bytes_)); }

  bool guards_intact() const {
    const std::string bytes = all_bytes();
    const std::string guard(kGuard, kPattern);
    return bytes.compare(0, kGuard, guard) == 0 &&
           bytes.compare(static_cast<std::size_t>(kGuard + bytes_), static_cast<std::size_t>(rear_),
                         guard, 0, static_cast<std::size_t>(rear_)) == 0;
  }

 private:
  static constexpr std::int64_t kGuard = 256;
  static constexpr char kPattern = '\xa5';

  template <class T>
  static void put(std::string& bytes, std::size_t i, T value) {
    std::memcpy(bytes.data() + i * sizeof(T), &value, sizeof(T));
  }
  template <class T>
  static T take(const std::string& bytes, std::size_t i) {
    T value;
    std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
    return value;
  }

  void write(const Tensor& to, const std::string& bytes) const {
    device::copy(*stream_, to, ConstTensor(bytes.data(), to.dtype(), to.shape()));
    stream_->synchronize();
  }

  std::string all_bytes() const {
    std::string bytes(static_cast<std::size_t>(storage_.bytes()), '\0');
    device::copy(*stream_, Tensor(bytes.data(), storage_.dtype(), storage_.shape()), storage_);
    return bytes;
  }

  std::int64_t bytes_;
  std::int64_t rear_;
  std::unique_ptr<device::Arena> arena_;
  std::unique_ptr<Stream> stream_;
  Tensor storage_;
  Tensor tensor_;
};

enum class Role : unsigned char {
  input,   ///< must stay as it is
  output,  ///< starts as NaN
  updated  ///< starts with values
};

enum class Type : unsigned char {
  activation,  ///< the dtype under test
  statistic,   ///< f32, or f64 beside f64
  token,       ///< i32
  exact        ///< f64 always
};

struct Operand {
  std::string name;
  Shape shape;
  Role role = Role::input;
  Type type = Type::activation;
  /// Where it starts; standard normal numbers when empty.
  std::vector<double> values = {};
  /// An output may differ from the reference by this many f32 roundings (2^-24 each) of the
  /// largest reference value, or of `magnitude` when that is larger; a bf16 output by its own
  /// rounding, 2^-8 of the value, on top.
  double roundings = 16.0;
  double magnitude = 0.0;
};

/// Whether the contract fixes the order of sums for any number of threads, or only for one.
enum class Order : unsigned char { fixed, of_thread_count };

struct OpCase {
  std::string name;
  std::vector<Operand> operands;
  std::function<void(Stream&, std::span<const Tensor>)> run;
  Order order = Order::fixed;
  std::uint64_t seed = 1;
};

inline std::vector<double> normal_values(std::int64_t count, std::uint64_t seed,
                                         std::uint64_t stream, double scale = 1.0) {
  std::vector<double> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = scale * base::random_normal(seed, stream, i);
  }
  return values;
}

/// Multiples of 1/16 within +-4: sums of two of them are exact in bf16.
inline std::vector<double> grid_values(std::int64_t count, std::uint64_t seed,
                                       std::uint64_t stream) {
  std::vector<double> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto step = static_cast<std::int64_t>(base::random_bits(seed, stream, i) % 129);
    values[i] = static_cast<double>(step - 64) / 16.0;
  }
  return values;
}

/// Integers in [0, limit).
inline std::vector<double> token_values(std::int64_t count, std::int64_t limit, std::uint64_t seed,
                                        std::uint64_t stream) {
  std::vector<double> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] =
        static_cast<double>(base::random_bits(seed, stream, i) % static_cast<std::uint64_t>(limit));
  }
  return values;
}

/// Sets the number of CPU threads for a scope.
class Threads {
 public:
  explicit Threads(int count) : before_(device::cpu_threads()) { device::set_cpu_threads(count); }
  ~Threads() { device::set_cpu_threads(before_); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  int before_;
};

namespace detail {

inline DType dtype_of(Type type, DType activation) {
  switch (type) {
    case Type::activation:
      return activation;
    case Type::statistic:
      return device::accumulator_dtype(activation);
    case Type::token:
      return DType::i32;
    case Type::exact:
      break;
  }
  return DType::f64;
}

/// The operands of one call with its results.
struct Call {
  std::vector<GuardedTensor> tensors;

  Call(const OpCase& op, device::Device device, DType activation,
       const std::vector<std::vector<double>>& starts, int threads) {
    const Threads scope(threads);
    std::vector<Tensor> views;
    for (std::size_t i = 0; i < op.operands.size(); ++i) {
      tensors.emplace_back(dtype_of(op.operands[i].type, activation), op.operands[i].shape, device);
      if (op.operands[i].role != Role::output) tensors.back().set(starts[i]);
      views.push_back(tensors.back().tensor());
    }
    std::vector<std::string> before;
    for (const GuardedTensor& tensor : tensors) before.push_back(tensor.bits());
    Stream stream(device);
    op.run(stream, views);
    stream.synchronize();
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      EXPECT_TRUE(tensors[i].guards_intact()) << "memory around " << op.operands[i].name;
      if (op.operands[i].role == Role::input) {
        EXPECT_TRUE(tensors[i].bits() == before[i]) << op.operands[i].name << " was changed";
      }
    }
  }
};

inline void compare(const Operand& operand, DType dtype, const std::vector<double>& found,
                    const std::vector<double>& expected) {
  double magnitude = operand.magnitude;
  for (const double value : expected) magnitude = std::max(magnitude, std::abs(value));
  const double own = dtype == DType::bf16 ? 0x1p-8 : 0.0;
  const double shared = operand.roundings * 0x1p-24 * magnitude;
  for (std::size_t i = 0; i < found.size(); ++i) {
    const double bound = shared * (1.0 + own) + own * std::abs(expected[i]);
    // Written so that NaN fails.
    if (!(std::abs(found[i] - expected[i]) <= bound)) {
      ADD_FAILURE() << operand.name << "[" << i << "]: found " << found[i] << ", expected "
                    << expected[i] << " within " << bound;
      return;
    }
  }
}

}  // namespace detail

/// Runs the case in `activation` against the same case in f64 on the CPU.
inline void check_op(const OpCase& op, DType activation) {
  if (skips_without_gpu()) return;
  const device::Device device = test_device();
  const bool is_cpu = device.kind == device::DeviceKind::cpu;
  if (!is_cpu && activation == DType::f64) return;
  SCOPED_TRACE(op.name + " in " + std::string(device::name_of(activation)) + ", seed " +
               std::to_string(op.seed));
  std::vector<std::vector<double>> starts;
  for (std::size_t i = 0; i < op.operands.size(); ++i) {
    const Operand& operand = op.operands[i];
    // Rounded first, so that the reference sees the very same numbers.
    const GuardedTensor rounded(detail::dtype_of(operand.type, activation), operand.shape);
    rounded.set(operand.values.empty() ? normal_values(operand.shape.elements(), op.seed,
                                                       static_cast<std::uint64_t>(i))
                                       : operand.values);
    starts.push_back(rounded.get());
  }
  const detail::Call reference(op, {}, DType::f64, starts, 1);
  const detail::Call call(op, device, activation, starts, 2);
  const detail::Call again(op, device, activation, starts, 2);
  for (std::size_t i = 0; i < op.operands.size(); ++i) {
    const Operand& operand = op.operands[i];
    if (operand.role == Role::input) continue;
    const GuardedTensor& tensor = call.tensors[i];
    detail::compare(operand, tensor.tensor().dtype(), tensor.get(), reference.tensors[i].get());
    EXPECT_TRUE(tensor.bits() == again.tensors[i].bits()) << operand.name << ": a repeat differs";
  }
  if (!is_cpu || op.order == Order::of_thread_count) return;
  for (const int threads : {1, 3}) {
    const detail::Call other(op, device, activation, starts, threads);
    for (std::size_t i = 0; i < op.operands.size(); ++i) {
      EXPECT_TRUE(call.tensors[i].bits() == other.tensors[i].bits())
          << op.operands[i].name << ": differs with " << threads << " threads";
    }
  }
}

inline void check_op(const OpCase& op) {
  for (const DType dtype : kActivationTypes) check_op(op, dtype);
}

/// An f64 tensor with values, for gradients.
inline GuardedTensor f64_tensor(const Shape& shape, const std::vector<double>& values) {
  GuardedTensor result(DType::f64, shape);
  result.set(values);
  return result;
}
inline GuardedTensor f64_normal(const Shape& shape, std::uint64_t seed, std::uint64_t stream) {
  return f64_tensor(shape, normal_values(shape.elements(), seed, stream));
}

/// sum of a[i] b[i]: makes a loss of an output with chosen gradients.
inline double dot(const GuardedTensor& a, const GuardedTensor& b) {
  double sum = 0.0;
  for (std::int64_t i = 0; i < a.tensor().elements(); ++i) {
    sum += a.tensor().data<double>()[i] * b.tensor().data<double>()[i];
  }
  return sum;
}

/// Compares `gradient` with (loss(x + h) - loss(x - h)) / 2 h, h = 1e-5. The truncation is
/// h^2 f''' / 6 and the rounding about 1e-16 |loss| / h = 1e-11 |loss|; with derivatives and losses
/// up to some tens both stay below 1e-8, relative to a gradient of 1.
inline void check_gradient(const char* name, const GuardedTensor& gradient, const GuardedTensor& x,
                           const std::function<double()>& loss) {
  constexpr double kStep = 1e-5;
  constexpr double kBound = 1e-7;
  for (std::int64_t i = 0; i < x.tensor().elements(); ++i) {
    double& value = x.tensor().data<double>()[i];
    const double start = value;
    value = start + kStep;
    const double above = loss();
    value = start - kStep;
    const double below = loss();
    value = start;
    const double expected = (above - below) / (2.0 * kStep);
    const double found = gradient.tensor().data<double>()[i];
    ASSERT_NEAR(found, expected, kBound * (1.0 + std::abs(expected))) << name << "[" << i << "]";
  }
}

}  // namespace ssmax::testing
