#include "normalizers/conformance.h"

#include <gtest/gtest.h>

#include <functional>

#include "device/parallel.h"
#include "normalizers/naive_attention.h"

namespace ssmax {
namespace {

using test::AttentionCase;
using test::AttentionResult;
using test::AttentionShape;
using test::Bf16;
using test::Bias;
using test::Documents;
using test::Run;
using test::Scenario;

std::vector<base::AnySection> variants(const kernels::NormalizerEntry& entry) {
  std::vector<base::AnySection> all;
  base::AnySection section = entry.options();
  test::vary(
      section.info(), [&] { return section.object(); }, 0, [&] { all.push_back(section); });
  for (auto& options : test::telling_options(entry.kind)) all.push_back(std::move(options));
  return all;
}

const std::vector<Scenario> kScenarios = {
    {"plain", {.time = 9}, Documents::one, Bias::none},
    {"documents", {.time = 11}, Documents::several, Bias::none},
    {"cache",
     {.time = 5, .head_size = 6, .first_position = 6, .spare_keys = 2},
     Documents::several,
     Bias::alibi},
    {"alibi", {.time = 7, .heads = 3, .groups = 1}, Documents::one, Bias::alibi},
};
/// Longer than a tile and than a register block, and multiples of nothing.
const std::vector<Scenario> kTiledScenarios = {
    {"plain",
     {.batch = 1, .time = 115, .heads = 2, .groups = 2, .head_size = 64},
     Documents::one,
     Bias::none},
    {"documents", {.time = 101, .head_size = 24}, Documents::several, Bias::none},
    {"cache",
     {.batch = 1,
      .time = 50,
      .heads = 3,
      .groups = 1,
      .head_size = 17,
      .first_position = 83,
      .spare_keys = 5},
     Documents::one,
     Bias::alibi},
    {"few queries", {.time = 3, .head_size = 32, .first_position = 40}, Documents::one, Bias::none},
};

class Normalizer : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { device::set_cpu_threads(2); }
  void TearDown() override { device::set_cpu_threads(0); }

  void for_all(const std::vector<Scenario>& scenarios, const test::Body& body) const {
    test::for_all(GetParam(), variants(normalizers::find(GetParam())), scenarios, body);
  }
};

INSTANTIATE_TEST_SUITE_P(All, Normalizer, testing::ValuesIn(test::kinds()),
                         [](const auto& kind) { return kind.param; });

// Both are the same sums in double, in other orders.
TEST_P(Normalizer, ReferenceIsTheFormula) {
  for_all(kScenarios, [](const auto& section, const auto& normalizer, const auto& c) {
    const auto naive = test::naive_attention(GetParam(), section, c);
    if (!naive) GTEST_SKIP() << "no formula in naive_attention.h for " << GetParam();
    const AttentionResult result = test::run_attention<double>(normalizer, c);
    EXPECT_LT(test::largest_difference(result.weights, naive->weights), 1e-12);
    EXPECT_LT(test::largest_difference(result.out, naive->out), 1e-12);
  });
}

double loss(const kernels::AttentionNormalizer& normalizer, const AttentionCase& c) {
  const AttentionResult result = test::run_attention<double>(normalizer, c, Run::forward);
  double sum = 0;
  for (std::size_t i = 0; i < c.dout.size(); ++i) sum += result.out[i] * c.dout[i];
  return sum;
}

/// Compares the slope of the loss along random directions of `values` to the gradient. Steps of
/// 1e-6: truncation is about 1e-12 times third derivatives, rounding 1e-15 times the loss over
/// 1e-6.
void check_gradient(const kernels::AttentionNormalizer& normalizer, const AttentionCase& c,
                    const std::function<std::vector<double>&(AttentionCase&)>& values,
                    const std::vector<double>& gradient, const char* what) {
  constexpr double kStep = 1e-6;
  for (std::uint64_t direction = 0; direction < 3; ++direction) {
    AttentionCase up = c;
    AttentionCase down = c;
    double expected = 0;
    double size = 0;
    for (std::size_t i = 0; i < gradient.size(); ++i) {
      const double step = base::random_normal(99, direction, i);
      values(up)[i] += kStep * step;
      values(down)[i] -= kStep * step;
      expected += step * gradient[i];
      size += gradient[i] * gradient[i];
    }
    const double slope = (loss(normalizer, up) - loss(normalizer, down)) / (2 * kStep);
    EXPECT_NEAR(slope, expected, 1e-6 * (1 + std::sqrt(size))) << what;
  }
}

TEST_P(Normalizer, GradientsAreTheSlopes) {
  for_all(kScenarios, [](const auto&, const auto& normalizer, const auto& c) {
    const AttentionResult result = test::run_attention<double>(normalizer, c);
    check_gradient(
        normalizer, c, [](AttentionCase & a) -> auto& { return a.q; }, result.dq, "dq");
    check_gradient(
        normalizer, c, [](AttentionCase & a) -> auto& { return a.k; }, result.dk, "dk");
    check_gradient(
        normalizer, c, [](AttentionCase & a) -> auto& { return a.v; }, result.dv, "dv");
    for (std::size_t i = 0; i < c.parameters.size(); ++i) {
      check_gradient(
          normalizer, c, [i](AttentionCase & a) -> auto& { return a.parameters[i]; },
          result.dparameters[i], normalizer.parameters()[i].name.c_str());
    }
  });
}

TEST_P(Normalizer, ParameterGradientsAreAdded) {
  for_all({kScenarios[1]}, [](const auto&, const auto& normalizer, const auto& c) {
    const AttentionResult zero = test::run_attention<double>(normalizer, c);
    const AttentionResult added =
        test::run_attention<double>(normalizer, c, Run::forward_and_backward, 3.0);
    for (std::size_t i = 0; i < c.parameters.size(); ++i) {
      for (std::size_t j = 0; j < c.parameters[i].size(); ++j) {
        EXPECT_NEAR(added.dparameters[i][j], zero.dparameters[i][j] + 3.0, 1e-12);
      }
    }
  });
}

// Scores reach 30 with a rounding of 2^-24 each: 2e-6 in a weight. Gradients subtract such weights'
// products, up to ten times smaller than their parts.
TEST_P(Normalizer, Fp32AgreesWithDouble) {
  for_all(kTiledScenarios, [](const auto&, const auto& normalizer, const auto& c) {
    test::expect_close(test::run_attention<float>(normalizer, c),
                       test::run_attention<double>(normalizer, c), normalizer.parameters(),
                       {2e-6, 3e-6, 3e-6, 1e-5});
  });
}

// Operands are the same and sums are fp32, so what remains is one rounding of the result to eight
// bits, at most 2^-9, and nothing in dc and the gradients of row scales and sinks, which stay fp32.
TEST_P(Normalizer, Bf16AgreesWithDouble) {
  for_all(kTiledScenarios, [](const auto&, const auto& normalizer, const auto& c) {
    test::expect_close(test::run_attention<Bf16>(normalizer, c),
                       test::run_attention<double>(normalizer, c), normalizer.parameters(),
                       {2e-3, 2e-3, 3e-6, 1e-5});
  });
}

TEST_P(Normalizer, RepeatsAndThreadsGiveTheSameBits) {
  for_all({kTiledScenarios[1], kTiledScenarios[3]},
          [](const auto&, const auto& normalizer, const auto& c) {
            device::set_cpu_threads(1);
            const AttentionResult first = test::run_attention<float>(normalizer, c);
            const AttentionResult half = test::run_attention<Bf16>(normalizer, c);
            test::expect_same_bits(test::run_attention<float>(normalizer, c), first);
            device::set_cpu_threads(2);
            test::expect_same_bits(test::run_attention<float>(normalizer, c), first);
            test::expect_same_bits(test::run_attention<Bf16>(normalizer, c), half);
          });
}

// Double runs the same sums in the same order. In fp32 the dot products of few queries are summed
// in another order: the bound of Fp32AgreesWithDouble, twice.
TEST_P(Normalizer, RowsOneByOneAreTheWholePass) {
  for_all({kScenarios[1], kScenarios[2]}, [](const auto&, const auto& normalizer, const auto& c) {
    const AttentionShape& s = c.shape;
    const AttentionResult whole = test::run_attention<double>(normalizer, c, Run::forward);
    const AttentionResult whole32 = test::run_attention<float>(normalizer, c, Run::forward);
    for (std::int64_t t = 0; t < s.time; ++t) {
      const AttentionCase one = test::single_query(c, t);
      const AttentionResult row = test::run_attention<double>(normalizer, one, Run::forward);
      const AttentionResult row32 = test::run_attention<float>(normalizer, one, Run::forward);
      const std::int64_t width = s.heads * s.head_size;
      for (std::int64_t i = 0; i < s.batch * width; ++i) {
        const auto at = static_cast<std::size_t>((i / width * s.time + t) * width + i % width);
        ASSERT_EQ(row.out[static_cast<std::size_t>(i)], whole.out[at]);
        ASSERT_NEAR(row32.out[static_cast<std::size_t>(i)], whole32.out[at], 1e-5);
      }
    }
  });
}

// Equal keys give equal scores bit for bit, so minimum and maximum are shared by several keys; the
// gradient goes to the first in every backend.
TEST_P(Normalizer, TiesGoToTheFirstKeyEverywhere) {
  for_all({kTiledScenarios[1]}, [](const auto&, const auto& normalizer, AttentionCase c) {
    const auto row = static_cast<std::ptrdiff_t>(c.shape.groups * c.shape.head_size);
    for (auto key = c.k.begin(); key != c.k.end(); key += 2 * row) {
      std::copy(key, key + row, key + row);
      if (std::distance(key, c.k.end()) <= 3 * row) break;
    }
    test::expect_close(test::run_attention<float>(normalizer, c),
                       test::run_attention<double>(normalizer, c), normalizer.parameters(),
                       {2e-6, 1e-5, 3e-6, 1e-5});
  });
}

// Among scores of 1e-3 terms with 1 / spread are thousands of times what they leave of dc,
// which must not lose their digits: all is good to a few 2^-24, as no score is large. Among scores
// of 100 one key of a row takes all weight but 1e-6, and what is left of its dx is of that size.
// What remains is 2^-24 of the largest score in every exponent, 6e-6.
TEST_P(Normalizer, SmallAndLargeScoresAgreeWithDouble) {
  // Softpick's dc vanishes with the scores, and its row scale of 1 has no parameters to give it to.
  const bool vanishes = GetParam() == "softpick";
  const auto check = [&](double factor, const test::Bounds& bounds) {
    SCOPED_TRACE("queries times " + std::to_string(factor));
    for_all({kTiledScenarios[1]}, [&](const auto&, const auto& normalizer, const auto& some) {
      const AttentionCase c = test::with_scores_times(factor, some);
      AttentionResult found = test::run_attention<float>(normalizer, c);
      const AttentionResult exact = test::run_attention<double>(normalizer, c);
      if (vanishes && factor < 1) found.dc = exact.dc;
      test::expect_close(found, exact, normalizer.parameters(), bounds);
    });
  };
  check(0x1p-10, {1e-6, 3e-6, 3e-6, 5e-6});
  check(8.0, {3e-6, 1e-5, 2e-5, 1e-5});
}

// With scores of 1e-6 e^x - 1 has one digit left when it is subtracted in fp32, and ten in double.
TEST(Softpick, SmallScoresKeepTheirDigits) {
  const auto& entry = normalizers::find("softpick");
  test::for_all("softpick", {entry.options()}, kTiledScenarios,
                [&](const auto& section, const auto& normalizer, const auto& some) {
                  for (const AttentionCase& c : test::with_small_scores(some)) {
                    const AttentionResult exact = test::run_attention<double>(normalizer, c);
                    const auto naive = test::naive_attention("softpick", section, c);
                    EXPECT_LT(test::relative_rms(exact.weights, naive->weights), 1e-14);
                    AttentionResult found = test::run_attention<float>(normalizer, c);
                    found.dc = exact.dc;
                    test::expect_close(found, exact, {}, {1e-6, 3e-6, 1e-6, 1e-6});
                    const AttentionResult half = test::run_attention<Bf16>(normalizer, c);
                    EXPECT_LT(test::relative_rms(half.out, exact.out), 2e-3);
                    EXPECT_LT(test::relative_rms(half.dq, exact.dq), 2e-3);
                  }
                });
}

// e^(score - sink) is nothing in fp32; its reciprocal would be infinite.
TEST(Sink, TakesAllWhenFarAboveTheScores) {
  const auto normalizer =
      normalizers::find("sink").make(base::AnySection::of(normalizers::sink::Options{}));
  AttentionCase c =
      test::make_case({}, *normalizer, kScenarios[1].documents, kScenarios[1].bias, 21);
  std::fill(c.parameters[0].begin(), c.parameters[0].end(), 200.0);
  const AttentionResult result = test::run_attention<float>(*normalizer, c);
  for (const auto& values : {result.out, result.dq, result.dk, result.dv, result.dc, result.weights,
                             result.dparameters[0]}) {
    EXPECT_EQ(values, std::vector<double>(values.size()));
  }
}

}  // namespace
}  // namespace ssmax
