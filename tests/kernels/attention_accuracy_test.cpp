#include <gtest/gtest.h>

#include <cstdio>

#include "kernels/attention/normalizer_of.h"
#include "support/attention_case.h"

/// How accurate SSMax is on bf16 operands, by where its scale goes; the table of
/// docs/results/accuracy_attention.md.
namespace ssmax {
namespace {

using kernels::LogLength;
using kernels::SoftmaxWeighting;
using kernels::UnitLength;
using test::AttentionCase;
using test::AttentionResult;
using test::Bf16;
using test::Run;

using Softmax = kernels::NormalizerOf<UnitLength, SoftmaxWeighting>;
using Ssmax = kernels::NormalizerOf<LogLength, SoftmaxWeighting>;

/// The queries as c q, rounded to bf16: what a library without row scales makes of SSMax.
AttentionCase prescaled(const AttentionCase& c, const std::vector<double>& scale) {
  AttentionCase result = c;
  const test::AttentionShape& s = c.shape;
  for (std::size_t i = 0; i < result.q.size(); ++i) {
    const auto row = static_cast<std::int64_t>(i) / s.head_size;
    const std::int64_t h = row % s.heads;
    const std::int64_t t = row / s.heads % s.time;
    const std::int64_t b = row / s.heads / s.time;
    const double factor = scale[static_cast<std::size_t>((b * s.heads + h) * s.time + t)];
    result.q[i] = static_cast<double>(Bf16(factor * c.q[i]));
  }
  return result;
}

/// What a matrix unit does with the weights: they are rounded to bf16 before they meet the values,
/// while their sum was taken in fp32. `weights` (B, H, T, S).
std::vector<double> rounded_product(const std::vector<double>& weights, const AttentionCase& c) {
  const test::AttentionShape& s = c.shape;
  std::vector<double> out(c.q.size());
  for (std::int64_t row = 0; row < s.batch * s.heads * s.time; ++row) {
    const std::int64_t t = row % s.time;
    const std::int64_t h = row / s.time % s.heads;
    const std::int64_t b = row / s.time / s.heads;
    double top = 0;
    for (std::int64_t j = 0; j < s.keys(); ++j) {
      top = std::max(top, weights[static_cast<std::size_t>(row * s.keys() + j)]);
    }
    for (std::int64_t j = 0; j < s.keys(); ++j) {
      // e^(x - max) is what is rounded: the weight over the row's largest.
      const double weight = weights[static_cast<std::size_t>(row * s.keys() + j)] / top;
      const double rounded = top * static_cast<double>(Bf16(weight));
      const auto v = static_cast<std::size_t>(
          ((b * s.keys() + j) * s.groups + h / (s.heads / s.groups)) * s.head_size);
      const auto o = static_cast<std::size_t>(((b * s.time + t) * s.heads + h) * s.head_size);
      for (std::size_t d = 0; d < static_cast<std::size_t>(s.head_size); ++d) {
        out[o + d] += rounded * c.v[v + d];
      }
    }
  }
  return out;
}

struct Errors {
  double weights = 0;      // fp32 weights from bf16 operands
  double matrix_unit = 0;  // outputs before their own rounding, weights rounded to bf16
  double output = 0;       // outputs as the bf16 kernel stores them
};

Errors errors_of(const kernels::AttentionNormalizer& normalizer, const AttentionCase& c,
                 const AttentionResult& exact) {
  const AttentionResult found = test::run_attention<Bf16>(normalizer, c);
  return {test::relative_rms(found.weights, exact.weights),
          test::relative_rms(rounded_product(found.weights, c), exact.out),
          test::relative_rms(found.out, exact.out)};
}

void print(const char* name, double query_scale, const Errors& e) {
  std::printf("| %-36s | %.0f | %.1e | %.1e | %.1e |\n", name, query_scale, e.weights,
              e.matrix_unit, e.output);
}

TEST(AttentionAccuracy, ScaleInTheExponentBeatsScaledQueries) {
  const Softmax softmax({}, {});
  const Ssmax ssmax({.initial_scale = 1.0}, {});
  std::printf("| variant | query scale | weights | matrix unit | bf16 output |\n");
  std::printf("|---|---|---|---|---|\n");
  for (const double query_scale : {1.0, 3.0}) {
    const test::AttentionShape shape{
        .batch = 1, .time = 256, .heads = 4, .groups = 4, .head_size = 64};
    const AttentionCase c =
        test::make_case(shape, ssmax, test::Documents::one, test::Bias::none, 31, query_scale);
    const AttentionResult exact_softmax = test::run_attention<double>(softmax, c);
    const AttentionResult exact = test::run_attention<double>(ssmax, c);
    const Errors plain = errors_of(softmax, c, exact_softmax);
    const Errors folded = errors_of(ssmax, c, exact);
    const Errors scaled = errors_of(softmax, prescaled(c, exact.c), exact);
    print("Softmax", query_scale, plain);
    print("SSMax, c in the fp32 exponent", query_scale, folded);
    print("SSMax, queries bf16(c q)", query_scale, scaled);
    // A bf16 query is off by up to 2^-9, its score by that times |x|; in fp32 it is 2^-24.
    EXPECT_GT(scaled.weights, 1000 * folded.weights);
    EXPECT_GT(scaled.matrix_unit, 4 * folded.matrix_unit);
    // The scale must not cost accuracy against plain Softmax: both are one rounding of the output.
    EXPECT_LT(folded.output, 1.2 * plain.output);
    EXPECT_GT(scaled.output, 1.5 * folded.output);
  }
}

}  // namespace
}  // namespace ssmax
