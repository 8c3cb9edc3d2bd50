#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <thread>
#include <vector>

#include "base/random.h"
#include "comm/agreement.h"
#include "comm/ranks_fixture.h"

/// Run by mpirun on several ranks, and alone; every rank runs every case.
namespace ssmax::comm {
namespace {

using device::DType;

/// Element i of a rank: of either sign and of sizes that make the order of a sum visible.
double value_of(int rank, std::int64_t i) {
  const auto index = static_cast<std::uint64_t>(i);
  const auto bits = base::random_bits(5, static_cast<std::uint64_t>(rank), index);
  const double mantissa = static_cast<double>(bits % 20'000'003) - 10'000'001.0;
  return std::ldexp(mantissa, static_cast<int>((i + rank) % 24) - 24);
}

template <class T>
std::vector<T> values(int rank, std::int64_t count) {
  std::vector<T> result(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) {
    result[static_cast<std::size_t>(i)] = static_cast<T>(value_of(rank, i));
  }
  return result;
}

/// The sum as the contract says, one rank after the other.
template <class T>
std::vector<T> expected_sum(int ranks, std::int64_t count, Wire wire) {
  std::vector<T> total(static_cast<std::size_t>(count));
  const auto sent = [&](T value) {
    return wire == Wire::full ? value : static_cast<T>(device::Bf16(static_cast<float>(value)));
  };
  for (int rank = 0; rank < ranks; ++rank) {
    const std::vector<T> part = values<T>(rank, count);
    for (std::size_t i = 0; i < total.size(); ++i) total[i] += sent(part[i]);
  }
  for (T& value : total) value = sent(value);
  return total;
}

// Sizes below and above a chunk, and some that the ranks do not divide.
constexpr std::int64_t kCounts[] = {1, 3, 32, 1000, 768 * 100 + 5, (1 << 20) + 12};

template <class T>
void check_sum() {
  Communicator& ranks = world();
  Stream stream;
  for (const Wire wire : {Wire::full, Wire::bf16}) {
    for (const std::int64_t count : kCounts) {
      std::vector<T> data = values<T>(ranks.rank(), count);
      const std::vector<T> expected =
          ranks.size() == 1 ? data : expected_sum<T>(ranks.size(), count, wire);
      ranks.sum(stream, device::view(data.data(), {count}), wire);
      EXPECT_EQ(std::memcmp(data.data(), expected.data(), data.size() * sizeof(T)), 0)
          << count << " elements, wire " << static_cast<int>(wire);
    }
  }
}

TEST(Ranks, SumsAreInTheOrderOfTheRanks) {
  check_sum<float>();
  check_sum<double>();
}

TEST(Ranks, ScatterAndGatherAreTheSum) {
  Communicator& ranks = world();
  Stream stream;
  for (const std::int64_t count : kCounts) {
    std::vector<float> data = values<float>(ranks.rank(), count);
    const std::vector<float> own = data;
    const std::vector<float> expected =
        ranks.size() == 1 ? own : expected_sum<float>(ranks.size(), count, Wire::full);
    const Tensor view = device::view(data.data(), {count});
    ranks.scatter_sum(stream, view, Wire::full);
    const Part mine = part_of(count, ranks.rank(), ranks.size());
    for (std::int64_t i = 0; i < count; ++i) {
      const auto at = static_cast<std::size_t>(i);
      const bool summed = mine.begin <= i && i < mine.end;
      ASSERT_EQ(data[at], summed ? expected[at] : own[at]) << i << " of " << count;
    }
    ranks.gather(stream, view);
    EXPECT_EQ(data, expected) << count;
  }
}

TEST(Ranks, GatherMovesAnyDtype) {
  Communicator& ranks = world();
  Stream stream;
  const std::int64_t count = 4 * 12 * 7;
  std::vector<device::Bf16> data(static_cast<std::size_t>(count));
  const Part mine = part_of(count, ranks.rank(), ranks.size());
  for (std::int64_t i = mine.begin; i < mine.end; ++i) {
    data[static_cast<std::size_t>(i)].bits = static_cast<std::uint16_t>(i);
  }
  ranks.gather(stream, device::view(data.data(), {count}));
  for (std::int64_t i = 0; i < count; ++i) {
    EXPECT_EQ(data[static_cast<std::size_t>(i)].bits, i);
  }
}

TEST(Ranks, CollectBringsThePartsToRankZero) {
  Communicator& ranks = world();
  Stream stream;
  for (const std::int64_t count : {std::int64_t{12}, std::int64_t{3} << 20}) {
    const std::vector<float> all = values<float>(7, count);
    const Part mine = part_of(count, ranks.rank(), ranks.size());
    std::vector<float> whole(ranks.is_root() ? all.size() : 0);
    const ConstTensor part =
        device::view(all.data(), {count}).rows(mine.begin, mine.end - mine.begin);
    ranks.collect(stream, ranks.is_root() ? device::view(whole.data(), {count}) : Tensor(), part);
    if (ranks.is_root()) {
      EXPECT_EQ(whole, all);
    }
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
    Stream stream;
    for (int round = 0; round < 20; ++round) {
      std::vector<float> data(5000, start);
      communicator.sum(stream, device::view(data.data(), {5000}), Wire::full);
      EXPECT_EQ(data[4999], start * static_cast<float>(communicator.size()));
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
