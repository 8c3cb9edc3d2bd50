#include "corpus/ordered_parallel.h"

#include <gtest/gtest.h>

#include <chrono>
#include <stdexcept>
#include <string>

namespace ssmax::corpus {
namespace {

constexpr int kThreads = 3;
constexpr int kItems = 50;

struct Failures {
  int produce = -1;  // at which item each throws; -1 = never
  int work = -1;
  int consume = -1;
};

/// The squares of the items, as consume() is given them.
std::vector<int> squares(const Failures& failures) {
  std::vector<int> results;
  int produced = 0;
  ordered_parallel(
      kThreads,
      [&]() -> std::optional<int> {
        if (produced == failures.produce) throw std::runtime_error("produce");
        return produced < kItems ? std::optional(produced++) : std::nullopt;
      },
      [&] {
        return [&](int item) {
          // Whoever waits for a result waits while it is made.
          std::this_thread::sleep_for(std::chrono::microseconds(item % 7 * 100));
          if (item >= failures.work && failures.work >= 0) {
            throw std::runtime_error("work " + std::to_string(item));
          }
          return item * item;
        };
      },
      [&](int square) {
        if (std::ssize(results) == failures.consume) throw std::runtime_error("consume");
        results.push_back(square);
      });
  return results;
}

std::string failure(const Failures& failures) {
  try {
    squares(failures);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "none";
}

TEST(OrderedParallel, gives_every_result_in_the_order_of_the_items) {
  std::vector<int> expected;
  for (int item = 0; item < kItems; ++item) expected.push_back(item * item);
  EXPECT_EQ(squares({}), expected);
}

TEST(OrderedParallel, throws_the_first_error_by_order_on_the_calling_thread) {
  // Later items fail too, most of them earlier.
  for (int item = 0; item < kItems; item += 3) {
    EXPECT_EQ(failure({.work = item}), "work " + std::to_string(item));
  }
}

TEST(OrderedParallel, ends_its_threads_when_the_caller_throws) {
  EXPECT_EQ(failure({.produce = 9}), "produce");
  EXPECT_EQ(failure({.consume = 9}), "consume");
}

TEST(OrderedParallel, throws_what_keeps_a_thread_from_starting_its_work) {
  const auto run = [] {
    ordered_parallel(
        kThreads, [n = 0]() mutable { return n < kItems ? std::optional(n++) : std::nullopt; },
        []() -> int (*)(int) { throw std::runtime_error("make_work"); }, [](int) {});
  };
  EXPECT_THROW(run(), std::runtime_error);
}

}  // namespace
}  // namespace ssmax::corpus
