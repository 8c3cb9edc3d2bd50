#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "normalizers/registry.h"
#include "normalizers/ssmax/ssmax.h"
#include "support/attention_case.h"

namespace ssmax {
namespace {

using test::AttentionCase;
using test::AttentionResult;
using test::AttentionShape;
using test::Run;

/// One query against n keys whose scores are -2, the last +3.
AttentionCase figure_case(std::int64_t n, std::vector<std::vector<double>> parameters) {
  AttentionCase c;
  c.shape = {
      .batch = 1, .time = 1, .heads = 1, .groups = 1, .head_size = 1, .first_position = n - 1};
  c.q = {1.0};
  c.dout = {1.0};
  c.k.assign(static_cast<std::size_t>(n), -2.0);
  c.k.back() = 3.0;
  c.v.assign(static_cast<std::size_t>(n), 1.0);
  c.parameters = std::move(parameters);
  return c;
}

double largest_weight(const std::string& kind, std::int64_t n,
                      std::vector<std::vector<double>> parameters) {
  const auto& entry = normalizers::find(kind);
  const auto normalizer = entry.make(entry.options());
  return test::run_attention<double>(*normalizer, figure_case(n, std::move(parameters)))
      .weights.back();
}

// Figure 1 of the Scalable-Softmax paper, s = 0.43: Softmax fades, SSMax does not.
TEST(Figures, SoftmaxFadesAndSsmaxDoesNot) {
  struct Line {
    std::int64_t n;
    double softmax;
    double ssmax;
  };
  for (const Line& line : std::initializer_list<Line>{{10, 0.942826, 0.940101},
                                                      {100, 0.599860, 0.995063},
                                                      {1000, 0.129346, 0.999646},
                                                      {10000, 0.014626, 0.999975},
                                                      {100000, 0.001482, 0.999998}}) {
    // Half of the last printed digit.
    EXPECT_NEAR(largest_weight("softmax", line.n, {}), line.softmax, 5e-7) << line.n;
    EXPECT_NEAR(largest_weight("ssmax", line.n, {{0.43}}), line.ssmax, 5e-7) << line.n;
  }
}

// 20,000 keys and queries: a matrix of scores would be 1.6 GB per head in fp32, a thread's scratch
// is a few rows. Values of 1 make every output of Softmax and SSMax the sum of its weights.
TEST(Figures, LongSequencesTakeMemoryThatGrowsWithTheKeys) {
  for (const char* kind : {"softmax", "ssmax"}) {
    const auto& entry = normalizers::find(kind);
    const auto normalizer = entry.make(entry.options());
    kernels::AttentionInputs inputs;
    inputs.k.time = 20000;
    inputs.k.head_size = 4;
    EXPECT_LT(normalizer->workspace_bytes(inputs, kernels::AttentionPass::backward), 20'000'000);
    AttentionCase c =
        test::make_case({.batch = 1, .time = 20000, .heads = 1, .groups = 1, .head_size = 4},
                        *normalizer, test::Documents::one, test::Bias::none, 3);
    for (double& value : c.v) value = 1.0;
    const AttentionResult result = test::run_attention<float>(*normalizer, c, Run::forward);
    double largest = 0;
    for (const double value : result.out) largest = std::max(largest, std::abs(value - 1.0));
    EXPECT_LT(largest, 1e-4) << "sums of up to 20,000 fp32 weights";
  }
}

TEST(Figures, LearnedLengthGoesOnAsItsLogarithm) {
  const auto& entry = normalizers::find("learned_length");
  const auto normalizer = entry.make(entry.options());
  AttentionCase c = test::make_case({.batch = 1, .time = 40, .heads = 1, .groups = 1}, *normalizer,
                                    test::Documents::one, test::Bias::none, 4);
  c.parameters = {{1.0}, {0.0}, {}};
  for (int n = 1; n <= 16; ++n) c.parameters[2].push_back(0.3 * std::log(n) + 0.2);
  const AttentionResult result = test::run_attention<double>(*normalizer, c, Run::forward);
  for (std::size_t t = 0; t < 40; ++t) {
    EXPECT_NEAR(result.c[t], 0.3 * std::log(static_cast<double>(t + 1)) + 0.2, 1e-12);
  }
  EXPECT_THROW(test::run_attention<double>(*normalizer, c), base::Error)
      << "trained past its table";
}

TEST(Figures, WrongShapesAreUsageErrors) {
  const auto& entry = normalizers::find("softmax");
  const auto normalizer = entry.make(entry.options());
  AttentionCase c = test::make_case({.batch = 1, .time = 4}, *normalizer, test::Documents::one,
                                    test::Bias::none, 5);
  c.first_key = {0, 0, 3, 3};  // query 2 would see no key
  EXPECT_THROW(test::run_attention<float>(*normalizer, c), base::Error);
  c.first_key = {0, 1, 0, 0};  // a document that goes on behind another
  EXPECT_THROW(test::run_attention<float>(*normalizer, c), base::Error);
}

}  // namespace
}  // namespace ssmax
