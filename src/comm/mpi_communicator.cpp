#include <mpi.h>

#include "base/checked.h"
#include "base/errors.h"
#include "comm/host_communicator.h"
#include "comm/open_mpi.h"
#include "comm/patience.h"

namespace ssmax::comm {

namespace {

constexpr int kTag = 0;

void check(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw base::Error(base::ErrorKind::hang, std::string("lost another rank: ") + call + ": " + text);
}

class MpiCommunicator : public HostCommunicator {
 public:
  MpiCommunicator(MPI_Comm ranks, int rank, int size)
      : HostCommunicator(rank, size), ranks_(ranks) {
    check(MPI_Comm_set_errhandler(ranks_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
    introduce();
  }

  std::string_view transport() const override { return "MPI"; }

  std::unique_ptr<Communicator> duplicate() override {
    MPI_Comm copy = MPI_COMM_NULL;
    check(MPI_Comm_dup(ranks_, &copy), "MPI_Comm_dup");
    return std::make_unique<MpiCommunicator>(copy, rank_, size_);
  }

  void finish() override {
    barrier();
    check(MPI_Finalize(), "MPI_Finalize");
  }

 protected:
  void exchange(std::span<const Outgoing> outgoing, std::span<const Incoming> incoming) override {
    requests_.clear();
    for (const Incoming& message : incoming) {
      check(MPI_Irecv(message.bytes.data(), base::narrow<int>(message.bytes.size()), MPI_BYTE,
                      message.rank, kTag, ranks_, &requests_.emplace_back()),
            "MPI_Irecv");
    }
    for (const Outgoing& message : outgoing) {
      check(MPI_Isend(message.bytes.data(), base::narrow<int>(message.bytes.size()), MPI_BYTE,
                      message.rank, kTag, ranks_, &requests_.emplace_back()),
            "MPI_Isend");
    }
    wait(outgoing, incoming);
  }

 private:
  void wait(std::span<const Outgoing> outgoing, std::span<const Incoming> incoming) {
    Patience patience;
    while (true) {
      int done = 0;
      check(MPI_Testall(static_cast<int>(requests_.size()), requests_.data(), &done,
                        MPI_STATUSES_IGNORE),
            "MPI_Testall");
      if (done != 0) return;
      if (patience.pause()) check_wait({patience.seconds(), missing(outgoing, incoming)});
    }
  }

  /// Ranks with a message that is not through, each once.
  std::vector<int> missing(std::span<const Outgoing> outgoing,
                           std::span<const Incoming> incoming) const {
    std::vector<bool> silent(static_cast<std::size_t>(size_));
    for (std::size_t i = 0; i < requests_.size(); ++i) {
      int done = 0;
      check(MPI_Request_get_status(requests_[i], &done, MPI_STATUS_IGNORE),
            "MPI_Request_get_status");
      if (done != 0) continue;
      const int rank = i < incoming.size() ? incoming[i].rank : outgoing[i - incoming.size()].rank;
      silent[static_cast<std::size_t>(rank)] = true;
    }
    std::vector<int> ranks;
    for (int rank = 0; rank < size_; ++rank) {
      if (silent[static_cast<std::size_t>(rank)]) ranks.push_back(rank);
    }
    return ranks;
  }

  MPI_Comm ranks_;
  std::vector<MPI_Request> requests_;
};

}  // namespace

std::unique_ptr<Communicator> open_mpi() {
  int provided = MPI_THREAD_SINGLE;
  check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided), "MPI_Init_thread");
  if (provided != MPI_THREAD_MULTIPLE) {
    throw base::Error(base::ErrorKind::usage,
                      "this MPI library does not serve several threads (MPI_THREAD_MULTIPLE), "
                      "which the overlap of communication and backward needs; use another one");
  }
  int rank = 0;
  int size = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  MPI_Comm copy = MPI_COMM_NULL;
  check(MPI_Comm_dup(MPI_COMM_WORLD, &copy), "MPI_Comm_dup");
  return std::make_unique<MpiCommunicator>(copy, rank, size);
}

}  // namespace ssmax::comm
