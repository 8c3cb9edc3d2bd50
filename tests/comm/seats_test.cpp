#include "comm/seats.h"

#include <gtest/gtest.h>

#include "base/errors.h"

namespace ssmax::comm {
namespace {

/// Two machines with two GPUs each, one rank on every GPU.
std::vector<Seat> four() {
  return {{"a", 0, "0000:01:00.0", "2.28.9", ""},
          {"a", 1, "0000:02:00.0", "2.28.9", ""},
          {"b", 0, "0000:01:00.0", "2.28.9", ""},
          {"b", 1, "0000:02:00.0", "2.28.9", ""}};
}

/// The error that wanting NCCL gives; what leaves it open takes the host for the same reason.
base::Error refusal(const std::vector<Seat>& seats) {
  const TransportChoice open = choose_transport(seats, Transport::automatic);
  EXPECT_EQ(open.transport, Transport::host);
  EXPECT_TRUE(open.text.starts_with("through host memory, slower than NCCL: ")) << open.text;
  try {
    choose_transport(seats, Transport::nccl);
  } catch (const base::Error& error) {
    const std::string reason =
        open.text.substr(std::string("through host memory, slower than NCCL: ").size());
    EXPECT_NE(std::string(error.what()).find(reason), std::string::npos) << error.what();
    return error;
  }
  ADD_FAILURE() << "expected an error";
  return {base::ErrorKind::usage, ""};
}

TEST(Seats, NcclWhereEachRankHasAGpu) {
  for (const Transport wanted : {Transport::automatic, Transport::nccl}) {
    const TransportChoice choice = choose_transport(four(), wanted);
    EXPECT_EQ(choice.transport, Transport::nccl);
    EXPECT_EQ(choice.text, "by NCCL 2.28.9");
  }
  EXPECT_EQ(choose_transport(four(), Transport::host).transport, Transport::host);
}

/// With a GPU of its own for each process every index is 0, and only the bus tells them apart.
TEST(Seats, AGpuIsToldByMachineAndBus) {
  std::vector<Seat> seats = four();
  seats[1].gpu = 0;
  EXPECT_EQ(ranks_at(seats, 1), std::vector<int>{1});
  EXPECT_EQ(choose_transport(seats, Transport::automatic).transport, Transport::nccl);
  seats[3].bus = seats[2].bus;
  EXPECT_EQ(ranks_at(seats, 0), std::vector<int>{0});
  EXPECT_EQ(ranks_at(seats, 3), (std::vector<int>{2, 3}));
}

TEST(Seats, ASharedGpuIsNamed) {
  std::vector<Seat> seats = four();
  seats.push_back(seats[0]);
  const base::Error error = refusal(seats);
  EXPECT_EQ(error.kind(), base::ErrorKind::usage);
  EXPECT_NE(std::string(error.what()).find("ranks 0 and 4 share GPU 0 of a"), std::string::npos)
      << error.what();
}

TEST(Seats, AMissingOrAnotherNcclIsNamed) {
  std::vector<Seat> seats = four();
  seats[2].nccl = "2.27.3";
  EXPECT_EQ(refusal(seats).kind(), base::ErrorKind::device);
  seats[2].nccl = "";
  seats[2].missing = "no libnccl.so.2";
  const base::Error error = refusal(seats);
  EXPECT_EQ(error.kind(), base::ErrorKind::device);
  EXPECT_NE(std::string(error.what()).find("rank 2 on b has no NCCL: no libnccl.so.2"),
            std::string::npos)
      << error.what();
}

TEST(Seats, TheCpuHasNoNccl) {
  EXPECT_EQ(refusal({{"a", -1, "", "", ""}, {"a", -1, "", "", ""}}).kind(), base::ErrorKind::usage);
  EXPECT_EQ(ranks_at(std::vector<Seat>{{"a", -1, "", "", ""}, {"a", -1, "", "", ""}}, 1),
            std::vector<int>{1});
}

}  // namespace
}  // namespace ssmax::comm
