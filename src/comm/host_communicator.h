#pragma once

#include <vector>

#include "comm/communicator.h"

namespace ssmax::comm {

/// Collectives over messages between pairs of ranks, in host memory: what MPI and other transports
/// of bytes have in common. Tensors on another device go through host memory.
///
/// A sum is a reduce-scatter, in which every rank sends each part to its owner, who adds in the
/// order of the ranks, and an all-gather: 2 (R - 1) / R of the tensor in each direction, as much as
/// a ring moves. MPI_Allreduce promises no order, and libraries change it with the size.
class HostCommunicator : public Communicator {
 public:
  void sum(Stream& stream, const Tensor& data, Wire wire) override;
  void scatter_sum(Stream& stream, const Tensor& data, Wire wire) override;
  void gather(Stream& stream, const Tensor& data) override;
  void collect(Stream& stream, const Tensor& whole, const ConstTensor& part) override;
  std::vector<double> gather_values(std::span<const double> mine) override;
  std::vector<std::string> gather_texts(std::string_view mine) override;

  void set_timeout(double seconds) override { timeout_seconds_ = seconds; }
  void set_on_wait(const OnWait& on_wait) override { on_wait_ = on_wait; }

 protected:
  struct Outgoing {
    int rank = 0;
    std::span<const std::byte> bytes;
  };
  struct Incoming {
    int rank = 0;
    std::span<std::byte> bytes;
  };

  HostCommunicator(int rank, int size) : Communicator(rank, size) {}

  /// Sends and receives all of them and waits. Messages between two ranks keep their order; both
  /// sides know the sizes.
  virtual void exchange(std::span<const Outgoing> outgoing, std::span<const Incoming> incoming) = 0;

  /// For exchange(): tells on_wait, and throws when the timeout is over.
  void check_wait(const Waiting& waiting) const;
  /// Fills hosts_.
  void introduce();

 private:
  using Bytes = std::span<std::byte>;
  using Buffer = std::vector<std::byte>;

  void make_room();
  Bytes slot(Buffer& buffer, int rank) const;
  std::int64_t chunk_elements() const;
  std::int64_t longest_part(const Tensor& data) const;
  Tensor chunk_of(const Tensor& data, int rank, std::int64_t first) const;
  void send(int rank, std::span<const std::byte> bytes);
  void receive(int rank, Bytes bytes);

  std::span<const std::byte> pack(Stream& stream, const ConstTensor& view, Wire wire, Bytes to);
  Bytes place(const Tensor& view, Wire wire, Bytes to);
  void unpack(Stream& stream, const Tensor& view, Wire wire, Bytes from);
  void add_received(Stream& stream, const Tensor& mine, Wire wire);
  void gather_parts(Stream& stream, const Tensor& data, Wire wire);

  double timeout_seconds_ = 0.0;
  OnWait on_wait_;
  Buffer sent_, received_;  // a slot of each rank
  Buffer staged_, total_;   // one slot
  std::vector<Outgoing> outgoing_;
  std::vector<Incoming> incoming_;
};

}  // namespace ssmax::comm
