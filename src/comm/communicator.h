#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/field.h"
#include "device/stream.h"

namespace ssmax::comm {

using device::ConstTensor;
using device::Stream;
using device::Tensor;

/// What the numbers of a sum are rounded to on their way, both each rank's and the sum; they are
/// added in f32 (f64 for f64).
enum class Wire : std::uint8_t { full, bf16 };
constexpr auto enum_names(Wire) {
  return std::to_array<base::EnumName<Wire>>({{Wire::full, "full"}, {Wire::bf16, "bf16"}});
}

/// Half-open range of elements.
struct Part {
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

/// The part of `elements` that belongs to `rank`: equal parts where `ranks` divides them.
constexpr Part part_of(std::int64_t elements, int rank, int ranks) {
  return {elements * rank / ranks, elements * (rank + 1) / ranks};
}

/// A rank that waits for others.
struct Waiting {
  double seconds = 0.0;    ///< so far
  std::vector<int> ranks;  ///< that have not answered
};

/// Ranks that work on one model. Every call is made by all ranks, in the same order. One thread at
/// a time may use a communicator; duplicate() gives another thread its own.
///
/// What goes through the memory of hosts is added in the order of the ranks, ((r0 + r1) + r2) +
/// ..., whatever arrives first, so that sums are bit-equal from run to run at the same number of
/// ranks. NCCL adds in an order of its own, see comm/open_nccl.h.
///
/// A tensor's call takes its numbers once the stream has come there, and what it brings is there
/// when it returns, for any stream.
///
/// Errors: Error(hang) naming a rank that is lost or that stays silent for longer than the timeout.
class Communicator {
 public:
  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  bool is_root() const { return rank_ == 0; }
  /// "rank 1 on host"; the machine of any rank.
  std::string rank_text(int rank) const;
  const std::string& host(int rank) const { return hosts_[static_cast<std::size_t>(rank)]; }
  /// What moves the tensors, for the log: "solo", "MPI".
  virtual std::string_view transport() const = 0;

  /// data = sum over ranks, on every rank. f32 or f64.
  virtual void sum(Stream& stream, const Tensor& data, Wire wire) = 0;
  /// Only part_of(data) of this rank becomes the sum; the rest of data is left as it was. One axis.
  virtual void scatter_sum(Stream& stream, const Tensor& data, Wire wire) = 0;
  /// Every part of data, one axis, as the rank has it that owns the part.
  virtual void gather(Stream& stream, const Tensor& data) = 0;
  /// Rank 0: whole, one axis, gets every rank's part; elsewhere whole is empty. part is
  /// part_of(whole) of this rank.
  virtual void collect(Stream& stream, const Tensor& whole, const ConstTensor& part) = 0;

  /// Every rank's numbers, in the order of the ranks; as many on each. Bit for bit.
  virtual std::vector<double> gather_values(std::span<const double> mine) = 0;
  /// Every rank's text, in the order of the ranks.
  virtual std::vector<std::string> gather_texts(std::string_view mine) = 0;

  /// Rank 0's text.
  std::string broadcast(std::string_view text) { return gather_texts(is_root() ? text : "")[0]; }
  /// Whether it is true on every rank.
  bool agree(bool ok);
  void barrier() { gather_values({}); }

  /// The same ranks again, for another thread.
  virtual std::unique_ptr<Communicator> duplicate() = 0;

  /// How long a rank may be silent; 0 = for ever.
  virtual void set_timeout(double /*seconds*/) {}
  /// Called a few times a second while a call waits, by the thread that waits.
  using OnWait = std::function<void(const Waiting&)>;
  virtual void set_on_wait(const OnWait& /*on_wait*/) {}

  /// Leaves in order, together with all ranks; nothing may be called after. A process that ends
  /// without it takes the others with it.
  virtual void finish() {}

 protected:
  Communicator(int rank, int size) : rank_(rank), size_(size) {}

  int rank_;
  int size_;
  std::vector<std::string> hosts_;
};

/// Host memory that a communicator takes once tensors go through it, whatever their size.
std::int64_t buffer_bytes(int ranks);

/// A process alone: every sum is what is there already. Needs no MPI.
std::unique_ptr<Communicator> make_solo();
/// One that lives as long as the process.
Communicator& solo();

}  // namespace ssmax::comm
