#include <gtest/gtest.h>

#include <thread>

#include "comm/open_nccl.h"
#include "comm/rank_values.h"
#include "comm/ranks_fixture.h"
#include "comm/seats.h"
#include "device/launch.h"
#include "simt/include/simt/deferral.h"
#include "simt/include/simt/nccl_state.h"
#include "support/device_numbers.h"

/// Run by mpirun on several ranks, and alone; every rank runs every case. The emulated NCCL adds in
/// the order of the ranks.
namespace ssmax::comm {
namespace {

using testing::DeviceNumbers;

// Elements that up to four ranks divide, below and above the eager and the pipelined protocols.
constexpr std::int64_t kCounts[] = {12, 12 * 1000, 12 << 15};

class Nccl : public ::testing::Test {
 protected:
  void SetUp() override {
    if (testing::on_cpu()) GTEST_SKIP() << device::gpus().reason;
    const auto seats = gather_seats(world(), testing::test_device(), Transport::nccl);
    const TransportChoice choice = choose_transport(seats, Transport::automatic);
    if (choice.transport != Transport::nccl) GTEST_SKIP() << choice.text;
    nccl_ = cuda::open_nccl(world(), testing::test_device());
  }

  std::vector<float> own(std::int64_t count) { return values<float>(world().rank(), count); }
  int size() { return world().size(); }

  /// Everyone has the same bits.
  void expect_alike(const std::vector<float>& data) {
    const auto* bytes = reinterpret_cast<const char*>(data.data());
    const std::string text(bytes, data.size() * sizeof(float));
    EXPECT_EQ(world().broadcast(text), text);
  }

  std::unique_ptr<Communicator> nccl_;
};

/// Cases that a rank alone cannot have.
class NcclRanks : public Nccl {};

/// Every addition rounds, f32 to 2^-24 of what it gives and bf16 to 2^-9, which is at most the sum
/// of sizes; on their way in bf16 the numbers are rounded as well.
TEST_F(Nccl, SumsWithinTheRoundingOfEachAddition) {
  for (const Wire wire : {Wire::full, Wire::bf16}) {
    for (const std::int64_t count : kCounts) {
      DeviceNumbers<float> numbers(own(count));
      nccl_->sum(numbers.stream(), numbers.tensor(), wire);
      const std::vector<float> found = numbers.read();
      expect_alike(found);
      const double unit = wire == Wire::full ? 0x1p-24 : 0x1p-8;
      for (std::int64_t i = 0; i < count; ++i) {
        double exact = 0.0;
        double sizes = 0.0;
        for (int rank = 0; rank < size(); ++rank) {
          exact += static_cast<float>(value_of(rank, i));
          sizes += std::abs(value_of(rank, i));
        }
        ASSERT_NEAR(found[static_cast<std::size_t>(i)], exact, unit * size() * sizes)
            << i << " of " << count;
      }
      DeviceNumbers<float> again(own(count));
      nccl_->sum(again.stream(), again.tensor(), wire);
      EXPECT_EQ(again.read(), found) << "run to run";
    }
  }
}

TEST_F(Nccl, ScatterAndGatherAreTheSum) {
  for (const Wire wire : {Wire::full, Wire::bf16}) {
    const std::int64_t count = kCounts[1];
    const std::vector<float> mine = own(count);
    DeviceNumbers<float> whole(mine);
    nccl_->sum(whole.stream(), whole.tensor(), wire);
    const std::vector<float> sum = whole.read();
    DeviceNumbers<float> numbers(mine);
    nccl_->scatter_sum(numbers.stream(), numbers.tensor(), wire);
    const std::vector<float> scattered = numbers.read();
    const Part part = part_of(count, world().rank(), size());
    for (std::int64_t i = 0; i < count; ++i) {
      const auto at = static_cast<std::size_t>(i);
      const bool summed = part.begin <= i && i < part.end;
      ASSERT_EQ(scattered[at], summed ? sum[at] : mine[at]) << i;
    }
    nccl_->gather(numbers.stream(), numbers.tensor());
    EXPECT_EQ(numbers.read(), sum);
  }
}

TEST_F(Nccl, GathersBf16) {
  const std::int64_t count = 12 * 7;
  std::vector<device::Bf16> data(static_cast<std::size_t>(count));
  const Part mine = part_of(count, world().rank(), size());
  for (std::int64_t i = mine.begin; i < mine.end; ++i) {
    data[static_cast<std::size_t>(i)].bits = static_cast<std::uint16_t>(i);
  }
  DeviceNumbers<device::Bf16> numbers(data);
  nccl_->gather(numbers.stream(), numbers.tensor());
  const std::vector<device::Bf16> gathered = numbers.read();
  for (std::int64_t i = 0; i < count; ++i) {
    EXPECT_EQ(gathered[static_cast<std::size_t>(i)].bits, i);
  }
}

/// What NCCL cannot cut evenly goes through the host, and so is added in the order of the ranks.
TEST_F(NcclRanks, UnevenPartsGoThroughTheHost) {
  const std::int64_t count = 12 * 100 + 1;
  DeviceNumbers<float> numbers(own(count));
  nccl_->sum(numbers.stream(), numbers.tensor(), Wire::full);
  EXPECT_EQ(numbers.read(), expected_sum<float>(size(), count, Wire::full));
}

TEST_F(Nccl, AnotherThreadUsesADuplicate) {
  const auto other = nccl_->duplicate();
  const auto work = [](Communicator& communicator, float start) {
    for (int round = 0; round < 5; ++round) {
      DeviceNumbers<float> numbers(std::vector<float>(4800, start));
      communicator.sum(numbers.stream(), numbers.tensor(), Wire::full);
      EXPECT_EQ(numbers.read()[4799], start * static_cast<float>(communicator.size()));
    }
  };
  // One after the other: GPUs that wait for each other in two orders would wait for ever.
  std::thread thread(work, std::ref(*other), 1.0F);
  thread.join();
  work(*nccl_, 100.0F);
}

TEST_F(NcclRanks, OneThatDoesNotComeIsNamedBeforeTheGpuWaits) {
  if (world().rank() == 1) {
    std::this_thread::sleep_for(std::chrono::milliseconds(600));
  } else {
    nccl_->set_timeout(0.2);
    DeviceNumbers<float> numbers(own(12));
    try {
      nccl_->sum(numbers.stream(), numbers.tensor(), Wire::full);
      ADD_FAILURE() << "expected an error";
    } catch (const base::Error& error) {
      EXPECT_EQ(error.kind(), base::ErrorKind::hang);
      EXPECT_TRUE(std::string(error.what()).starts_with(world().rank_text(1) + " silent for 0."))
          << error.what();
    }
  }
  world().barrier();
}

/// Of what only a broken machine does, on the emulated one.
TEST_F(Nccl, ErrorsAndHangsOfTheLibraryAreErrors) {
  if (!device::is_linked<simt::set_nccl_state>()) GTEST_SKIP() << "needs the emulated NCCL";
  constexpr int kInProgress = 7;
  constexpr int kRemoteError = 6;
  constexpr int kInternalError = 3;
  struct Case {
    int state;
    base::ErrorKind kind;
    const char* text;
  };
  for (const auto& [state, kind, text] :
       {Case{kInProgress, base::ErrorKind::hang, "ncclReduceScatter takes longer than 0.2 s"},
        Case{kRemoteError, base::ErrorKind::hang, "lost another rank"},
        Case{kInternalError, base::ErrorKind::device, "an error of the emulated NCCL"}}) {
    const auto channel = nccl_->duplicate();
    channel->set_timeout(0.2);
    int looks = 0;
    channel->set_on_wait([&](const Waiting& /*waiting*/) { ++looks; });
    DeviceNumbers<float> numbers(own(12));
    numbers.stream().synchronize();
    world().barrier();
    simt::set_nccl_state(state);
    try {
      channel->sum(numbers.stream(), numbers.tensor(), Wire::full);
      ADD_FAILURE() << "expected an error";
    } catch (const base::Error& error) {
      EXPECT_EQ(error.kind(), kind);
      EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
    }
    simt::set_nccl_state(0);
    EXPECT_EQ(looks > 0, state == kInProgress);
    simt::set_deferred(false);  // what was queued before the error runs now
    simt::set_deferred(true);
    world().barrier();
  }
}

}  // namespace
}  // namespace ssmax::comm
