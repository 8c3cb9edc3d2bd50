#include "comm/host_communicator.h"

#include <algorithm>
#include <stdexcept>

#include "base/checked.h"
#include "base/errors.h"
#include "base/format.h"
#include "comm/launch.h"

namespace ssmax::comm {

namespace {

using device::Bf16;

/// Of what is on its way at a time, all ranks together: bounds the buffers and the messages.
constexpr std::int64_t kRoundBytes = std::int64_t{16} << 20;
constexpr std::int64_t kLeastSlotBytes = std::int64_t{1} << 16;

std::int64_t slot_bytes(int ranks) {
  return std::max(kLeastSlotBytes, kRoundBytes / ranks / 64 * 64);
}

void require(bool condition, const char* mistake) {
  if (!condition) throw std::logic_error(mistake);
}

bool on_host(const ConstTensor& tensor) { return tensor.device().kind == device::DeviceKind::cpu; }

std::int64_t sent_size(device::DType dtype, Wire wire) {
  return device::size_of(wire == Wire::bf16 ? device::DType::bf16 : dtype);
}

/// Sums are of f32 or f64.
template <class Work>
void dispatch_sum(device::DType dtype, Work&& work) {
  if (dtype == device::DType::f64) {
    work(device::Tag<double>{});
  } else {
    work(device::Tag<float>{});
  }
}

}  // namespace

std::int64_t buffer_bytes(int ranks) {
  return ranks == 1 ? 0 : 2 * (ranks + 1) * slot_bytes(ranks);
}

void HostCommunicator::check_wait(const Waiting& waiting) const {
  if (on_wait_) on_wait_(waiting);
  if (timeout_seconds_ == 0.0 || waiting.seconds < timeout_seconds_ || waiting.ranks.empty()) {
    return;
  }
  std::string names;
  for (const int rank : waiting.ranks) names += (names.empty() ? "" : ", ") + rank_text(rank);
  throw base::Error(base::ErrorKind::hang,
                    names + " silent for " + base::format_seconds(waiting.seconds) +
                        " (allowed: " + base::format_seconds(timeout_seconds_) + ")");
}

void HostCommunicator::introduce() {
  hosts_.assign(static_cast<std::size_t>(size_), "an unknown machine");
  hosts_ = gather_texts(host_name());
}

HostCommunicator::Bytes HostCommunicator::slot(Buffer& buffer, int rank) const {
  const auto bytes = static_cast<std::size_t>(slot_bytes(size_));
  return std::span(buffer).subspan(bytes * static_cast<std::size_t>(rank), bytes);
}

/// The elements as they travel: where they are when nothing changes, otherwise in `to`.
std::span<const std::byte> HostCommunicator::pack(Stream& stream, const ConstTensor& view,
                                                  Wire wire, Bytes to) {
  const std::int64_t count = view.elements();
  const void* from = view.raw();
  if (!on_host(view)) {
    Tensor staged(wire == Wire::full ? to.data() : staged_.data(), view.dtype(), {count});
    device::copy(stream, staged, view);
    stream.synchronize();
    from = staged.raw();
  }
  if (wire == Wire::full) {
    return {static_cast<const std::byte*>(from), static_cast<std::size_t>(view.bytes())};
  }
  auto* narrow = reinterpret_cast<Bf16*>(to.data());
  dispatch_sum(view.dtype(), [&]<class T>(device::Tag<T>) {
    const T* wide = static_cast<const T*>(from);
    for (std::int64_t i = 0; i < count; ++i) narrow[i] = Bf16(static_cast<float>(wide[i]));
  });
  return to.first(static_cast<std::size_t>(count) * sizeof(Bf16));
}

/// Where a message for `view` is received: in place when nothing changes, otherwise in `to`.
HostCommunicator::Bytes HostCommunicator::place(const Tensor& view, Wire wire, Bytes to) {
  const bool in_place = wire == Wire::full && on_host(view);
  auto* start = in_place ? static_cast<std::byte*>(view.raw()) : to.data();
  return {start, static_cast<std::size_t>(view.elements() * sent_size(view.dtype(), wire))};
}

/// Brings what place() received into `view`.
void HostCommunicator::unpack(Stream& stream, const Tensor& view, Wire wire, Bytes from) {
  if (wire == Wire::full && on_host(view)) return;
  const std::int64_t count = view.elements();
  const void* elements = from.data();
  if (wire == Wire::bf16) {
    const auto* narrow = reinterpret_cast<const Bf16*>(from.data());
    dispatch_sum(view.dtype(), [&]<class T>(device::Tag<T>) {
      T* wide = static_cast<T*>(on_host(view) ? view.raw() : staged_.data());
      for (std::int64_t i = 0; i < count; ++i) wide[i] = static_cast<T>(narrow[i]);
    });
    if (on_host(view)) return;
    elements = staged_.data();
  }
  device::copy(stream, view, ConstTensor(elements, view.dtype(), {count}));
  stream.synchronize();
}

/// received_ holds the contribution of every rank: mine = their sum, in the order of the ranks.
void HostCommunicator::add_received(Stream& stream, const Tensor& mine, Wire wire) {
  const auto count = static_cast<std::size_t>(mine.elements());
  const auto add = [&]<class T, class Sent>(T* total, const Sent* /*type*/) {
    std::fill_n(total, count, T{});
    for (int rank = 0; rank < size_; ++rank) {
      const auto* from = reinterpret_cast<const Sent*>(slot(received_, rank).data());
      for (std::size_t i = 0; i < count; ++i) total[i] += static_cast<T>(from[i]);
    }
    if (wire == Wire::full) return;
    for (std::size_t i = 0; i < count; ++i) {
      total[i] = static_cast<T>(Bf16(static_cast<float>(total[i])));
    }
  };
  dispatch_sum(mine.dtype(), [&]<class T>(device::Tag<T>) {
    T* total = static_cast<T*>(on_host(mine) ? mine.raw() : total_.data());
    if (wire == Wire::full) {
      add(total, static_cast<const T*>(nullptr));
    } else {
      add(total, static_cast<const Bf16*>(nullptr));
    }
  });
  if (on_host(mine)) return;
  device::copy(stream, mine, ConstTensor(total_.data(), mine.dtype(), {mine.elements()}));
  stream.synchronize();
}

void HostCommunicator::make_room() {
  const std::int64_t slot = slot_bytes(size_);
  for (Buffer* buffer : {&sent_, &received_}) {
    buffer->resize(static_cast<std::size_t>(slot * size_));
  }
  for (Buffer* buffer : {&staged_, &total_}) buffer->resize(static_cast<std::size_t>(slot));
}

void HostCommunicator::scatter_sum(Stream& stream, const Tensor& data, Wire wire) {
  require(data.shape().rank() == 1, "scatter_sum takes one axis");
  require(data.dtype() == device::DType::f32 || data.dtype() == device::DType::f64,
          "sums are of f32 or f64");
  make_room();
  for (std::int64_t first = 0; first < longest_part(data); first += chunk_elements()) {
    outgoing_.clear();
    incoming_.clear();
    const Tensor mine = chunk_of(data, rank_, first);
    const auto expected = static_cast<std::size_t>(mine.elements() * sent_size(mine.dtype(), wire));
    for (int rank = 0; rank < size_; ++rank) {
      const auto bytes = pack(stream, chunk_of(data, rank, first), wire, slot(sent_, rank));
      const Bytes from = slot(received_, rank).first(expected);
      if (rank == rank_) {
        std::copy(bytes.begin(), bytes.end(), from.begin());
      } else {
        send(rank, bytes);
        receive(rank, from);
      }
    }
    exchange(outgoing_, incoming_);
    if (mine.elements() > 0) add_received(stream, mine, wire);
  }
}

void HostCommunicator::sum(Stream& stream, const Tensor& data, Wire wire) {
  const Tensor flat = data.reshaped({data.elements()});
  scatter_sum(stream, flat, wire);
  gather_parts(stream, flat, wire);
}

void HostCommunicator::gather(Stream& stream, const Tensor& data) {
  require(data.shape().rank() == 1, "gather takes one axis");
  gather_parts(stream, data, Wire::full);
}

void HostCommunicator::gather_parts(Stream& stream, const Tensor& data, Wire wire) {
  make_room();
  for (std::int64_t first = 0; first < longest_part(data); first += chunk_elements()) {
    outgoing_.clear();
    incoming_.clear();
    const auto mine = pack(stream, chunk_of(data, rank_, first), wire, slot(sent_, rank_));
    for (int rank = 0; rank < size_; ++rank) {
      if (rank == rank_) continue;
      send(rank, mine);
      receive(rank, place(chunk_of(data, rank, first), wire, slot(received_, rank)));
    }
    exchange(outgoing_, incoming_);
    for (int rank = 0; rank < size_; ++rank) {
      if (rank == rank_) continue;
      unpack(stream, chunk_of(data, rank, first), wire, slot(received_, rank));
    }
  }
}

std::int64_t HostCommunicator::chunk_elements() const {
  return slot_bytes(size_) / static_cast<std::int64_t>(sizeof(double));
}

std::int64_t HostCommunicator::longest_part(const Tensor& data) const {
  return base::div_up(data.elements(), size_);
}

/// The elements of a rank's part that travel in the round that starts at `first` of every part.
Tensor HostCommunicator::chunk_of(const Tensor& data, int rank, std::int64_t first) const {
  const Part part = part_of(data.elements(), rank, size_);
  const std::int64_t begin = std::min(part.begin + first, part.end);
  return data.rows(begin, std::min(chunk_elements(), part.end - begin));
}

void HostCommunicator::send(int rank, std::span<const std::byte> bytes) {
  if (!bytes.empty()) outgoing_.push_back({rank, bytes});
}

void HostCommunicator::receive(int rank, Bytes bytes) {
  if (!bytes.empty()) incoming_.push_back({rank, bytes});
}

void HostCommunicator::collect(Stream& stream, const Tensor& whole, const ConstTensor& part) {
  require(is_root() == !whole.empty(), "collect: rank 0 alone names the whole");
  make_room();
  if (!is_root()) {
    for (std::int64_t first = 0; first < part.elements(); first += chunk_elements()) {
      const ConstTensor chunk =
          part.rows(first, std::min(chunk_elements(), part.elements() - first));
      const Outgoing message{0, pack(stream, chunk, Wire::full, slot(sent_, rank_))};
      exchange({&message, 1}, {});
    }
    return;
  }
  device::copy(stream, whole.rows(0, part.elements()), part);
  for (int rank = 1; rank < size_; ++rank) {
    const Part theirs = part_of(whole.elements(), rank, size_);
    for (std::int64_t first = theirs.begin; first < theirs.end; first += chunk_elements()) {
      const Tensor chunk = whole.rows(first, std::min(chunk_elements(), theirs.end - first));
      const Bytes bytes = slot(received_, rank);
      const Incoming message{rank, place(chunk, Wire::full, bytes)};
      exchange({}, {&message, 1});
      unpack(stream, chunk, Wire::full, bytes);
    }
  }
  stream.synchronize();
}

std::vector<double> HostCommunicator::gather_values(std::span<const double> mine) {
  // A message without numbers still says that its rank has come this far.
  std::vector<double> sent(mine.begin(), mine.end());
  sent.push_back(0.0);
  const std::size_t count = sent.size();
  std::vector<double> received(count * static_cast<std::size_t>(size_));
  std::vector<Outgoing> outgoing;
  std::vector<Incoming> incoming;
  for (int rank = 0; rank < size_; ++rank) {
    if (rank == rank_) continue;
    outgoing.push_back({rank, std::as_bytes(std::span(sent))});
    const auto slot = std::span(received).subspan(count * static_cast<std::size_t>(rank), count);
    incoming.push_back({rank, std::as_writable_bytes(slot)});
  }
  exchange(outgoing, incoming);
  std::vector<double> result;
  for (int rank = 0; rank < size_; ++rank) {
    const auto slot = std::span(received).subspan(count * static_cast<std::size_t>(rank), count);
    const std::span<const double> from = rank == rank_ ? std::span<const double>(sent) : slot;
    result.insert(result.end(), from.begin(), from.end() - 1);
  }
  return result;
}

std::vector<std::string> HostCommunicator::gather_texts(std::string_view mine) {
  const auto length = static_cast<double>(mine.size());
  const std::vector<double> lengths = gather_values({&length, 1});
  std::vector<std::string> texts(static_cast<std::size_t>(size_));
  std::vector<Outgoing> outgoing;
  std::vector<Incoming> incoming;
  for (int rank = 0; rank < size_; ++rank) {
    std::string& text = texts[static_cast<std::size_t>(rank)];
    if (rank == rank_) {
      text = mine;
      continue;
    }
    text.resize(static_cast<std::size_t>(lengths[static_cast<std::size_t>(rank)]));
    if (!mine.empty()) outgoing.push_back({rank, std::as_bytes(std::span(mine))});
    if (!text.empty()) incoming.push_back({rank, std::as_writable_bytes(std::span(text))});
  }
  exchange(outgoing, incoming);
  return texts;
}

}  // namespace ssmax::comm
