#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "comm/agreement.h"
#include "comm/rank_values.h"
#include "comm/ranks_fixture.h"
#include "support/device_numbers.h"

/// Run by mpirun on several ranks, and alone; every rank runs every case.
namespace ssmax::comm {
namespace {

using testing::DeviceNumbers;

// Sizes below and above a chunk, and some that the ranks do not divide.
constexpr std::int64_t kCounts[] = {1, 3, 32, 1000, 768 * 100 + 5, (1 << 20) + 12};

template <class T>
void check_sum() {
  Communicator& ranks = world();
  for (const Wire wire : {Wire::full, Wire::bf16}) {
    for (const std::int64_t count : kCounts) {
      const std::vector<T> own = values<T>(ranks.rank(), count);
      const std::vector<T> expected =
          ranks.size() == 1 ? own : expected_sum<T>(ranks.size(), count, wire);
      DeviceNumbers<T> numbers(own);
      ranks.sum(numbers.stream(), numbers.tensor(), wire);
      const std::vector<T> data = numbers.read();
      EXPECT_EQ(std::memcmp(data.data(), expected.data(), data.size() * sizeof(T)), 0)
          << count << " elements, wire " << static_cast<int>(wire);
    }
  }
}

TEST(Ranks, AreNumberedOnEachMachine) {
  const LocalRank mine = local_rank(world());
  const std::string host = world().host(world().rank()) + " ";
  std::set<std::string> all;
  for (const std::string& text : world().gather_texts(host + std::to_string(mine.index))) {
    EXPECT_TRUE(all.insert(text).second) << text;
  }
  for (int index = 0; index < mine.count; ++index) {
    EXPECT_EQ(all.count(host + std::to_string(index)), 1U) << index;
  }
  EXPECT_EQ(all.count(host + std::to_string(mine.count)), 0U);
}

TEST(Ranks, SumsAreInTheOrderOfTheRanks) {
  check_sum<float>();
  check_sum<double>();
}

TEST(Ranks, ScatterAndGatherAreTheSum) {
  Communicator& ranks = world();
  for (const std::int64_t count : kCounts) {
    const std::vector<float> own = values<float>(ranks.rank(), count);
    const std::vector<float> expected =
        ranks.size() == 1 ? own : expected_sum<float>(ranks.size(), count, Wire::full);
    DeviceNumbers<float> numbers(own);
    ranks.scatter_sum(numbers.stream(), numbers.tensor(), Wire::full);
    const std::vector<float> data = numbers.read();
    const Part mine = part_of(count, ranks.rank(), ranks.size());
    for (std::int64_t i = 0; i < count; ++i) {
      const auto at = static_cast<std::size_t>(i);
      const bool summed = mine.begin <= i && i < mine.end;
      ASSERT_EQ(data[at], summed ? expected[at] : own[at]) << i << " of " << count;
    }
    ranks.gather(numbers.stream(), numbers.tensor());
    EXPECT_EQ(numbers.read(), expected) << count;
  }
}

TEST(Ranks, GatherMovesAnyDtype) {
  Communicator& ranks = world();
  const std::int64_t count = 4 * 12 * 7;
  std::vector<device::Bf16> data(static_cast<std::size_t>(count));
  const Part mine = part_of(count, ranks.rank(), ranks.size());
  for (std::int64_t i = mine.begin; i < mine.end; ++i) {
    data[static_cast<std::size_t>(i)].bits = static_cast<std::uint16_t>(i);
  }
  DeviceNumbers<device::Bf16> numbers(data);
  ranks.gather(numbers.stream(), numbers.tensor());
  const std::vector<device::Bf16> gathered = numbers.read();
  for (std::int64_t i = 0; i < count; ++i) {
    EXPECT_EQ(gathered[static_cast<std::size_t>(i)].bits, i);
  }
}

TEST(Ranks, CollectBringsThePartsToRankZero) {
  Communicator& ranks = world();
  for (const std::int64_t count : {std::int64_t{12}, std::int64_t{3} << 20}) {
    const std::vector<float> all = values<float>(7, count);
    const Part mine = part_of(count, ranks.rank(), ranks.size());
    DeviceNumbers<float> parts(all);
    const Tensor part = parts.tensor().rows(mine.begin, mine.end - mine.begin);
    DeviceNumbers<float> whole(std::vector<float>(all.size()));
    ranks.collect(parts.stream(), ranks.is_root() ? whole.tensor() : Tensor(), part);
    std::vector<float> on_host(all.size());
    ranks.collect(parts.stream(),
                  ranks.is_root() ? device::view(on_host.data(), {count}) : Tensor(), part);
    if (!ranks.is_root()) continue;
    EXPECT_EQ(whole.read(), all);
    EXPECT_EQ(on_host, all);
  }
}

TEST(Ranks, ValuesAndTextsComeInTheOrderOfTheRanks) {
  Communicator& ranks = world();
  const double mine[2] = {ranks.rank() + 0.5, -0.0};
  const std::vector<double> all = ranks.gather_values(mine);
  ASSERT_EQ(all.size(), 2U * static_cast<std::size_t>(ranks.size()));
  for (int rank = 0; rank < ranks.size(); ++rank) {
    EXPECT_EQ(all[static_cast<std::size_t>(2 * rank)], rank + 0.5);
    EXPECT_TRUE(std::signbit(all[static_cast<std::size_t>(2 * rank) + 1]));
  }
  const std::string text(static_cast<std::size_t>(3 * ranks.rank()), 'x');
  const std::vector<std::string> texts = ranks.gather_texts(text);
  for (int rank = 0; rank < ranks.size(); ++rank) {
    EXPECT_EQ(texts[static_cast<std::size_t>(rank)].size(), static_cast<std::size_t>(3 * rank));
  }
  EXPECT_EQ(ranks.broadcast(ranks.is_root() ? "from zero" : "from others"), "from zero");
  EXPECT_TRUE(ranks.agree(true));
  EXPECT_EQ(ranks.agree(ranks.rank() != ranks.size() - 1), false);
}

TEST(Ranks, ThreadsUseDuplicatesAtTheSameTime) {
  Communicator& ranks = world();
  const auto other = ranks.duplicate();
  const auto work = [](Communicator& communicator, float start) {
    for (int round = 0; round < 20; ++round) {
      DeviceNumbers<float> numbers(std::vector<float>(5000, start));
      communicator.sum(numbers.stream(), numbers.tensor(), Wire::full);
      EXPECT_EQ(numbers.read()[4999], start * static_cast<float>(communicator.size()));
    }
  };
  std::thread thread(work, std::ref(*other), 1.0F);
  work(ranks, 100.0F);
  thread.join();
}

TEST(Ranks, OneFailureIsEveryonesError) {
  Communicator& ranks = world();
  const int last = ranks.size() - 1;
  try {
    together(ranks, [&] {
      if (ranks.rank() == last) throw base::Error(base::ErrorKind::data, "no such shard");
    });
    FAIL() << "expected an error";
  } catch (const base::Error& error) {
    EXPECT_EQ(error.kind(), base::ErrorKind::data);
    const std::string name = ranks.size() == 1 ? "" : ranks.rank_text(last) + ": ";
    EXPECT_EQ(std::string(error.what()), name + "no such shard");
  }
  together(ranks, [] {});  // nobody is left waiting
}

TEST(Ranks, AnErrorOfAllIsSaidOnce) {
  try {
    together(world(), [] { throw base::Error(base::ErrorKind::disk, "full"); });
    FAIL() << "expected an error";
  } catch (const base::Error& error) {
    EXPECT_EQ(std::string(error.what()), "full");
  }
}

TEST(Ranks, DifferentValuesAreNamedWithTheirRanks) {
  Communicator& ranks = world();
  require_same(ranks, "seed", "7");
  if (ranks.size() == 1) return;
  try {
    require_same(ranks, "seed", ranks.rank() == 1 ? "8" : "7");
    FAIL() << "expected an error";
  } catch (const base::Error& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("rank 0 on " + ranks.host(0) + " has 7"), std::string::npos) << message;
    EXPECT_NE(message.find("rank 1 on " + ranks.host(1) + " has 8"), std::string::npos) << message;
  }
}

TEST(Ranks, ASilentRankIsNamed) {
  Communicator& ranks = world();
  if (ranks.size() == 1) GTEST_SKIP() << "needs several ranks";
  const auto channel = ranks.duplicate();
  if (ranks.rank() == 1) {
    std::this_thread::sleep_for(std::chrono::milliseconds(600));
  } else {
    int looks = 0;
    channel->set_timeout(0.2);
    channel->set_on_wait([&](const Waiting& waiting) {
      ++looks;
      EXPECT_EQ(waiting.ranks, std::vector<int>{1});
    });
    try {
      channel->barrier();
      ADD_FAILURE() << "expected an error";
    } catch (const base::Error& error) {
      EXPECT_EQ(error.kind(), base::ErrorKind::hang);
      EXPECT_TRUE(std::string(error.what()).starts_with(ranks.rank_text(1) + " silent for 0."))
          << error.what();
    }
    EXPECT_GE(looks, 1);
  }
  ranks.barrier();
}

}  // namespace
}  // namespace ssmax::comm
