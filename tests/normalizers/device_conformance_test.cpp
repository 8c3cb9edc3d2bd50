#include <gtest/gtest.h>

#include <numeric>
#include <set>
#include <vector>

#include "base/setting_scope.h"
#include "device/gpus.h"
#include "kernels/attention/attention_form.h"
#include "normalizers/conformance.h"
#include "normalizers/self_adjust/self_adjust.h"
#include "normalizers/softpick/softpick.h"
#include "normalizers/ssmax/ssmax.h"

/// Every normalizer on a GPU, or on the emulated one, against double on the CPU.
namespace ssmax {
namespace {

using test::AttentionCase;
using test::AttentionResult;
using test::AttentionShape;
using test::Bf16;
using test::Bias;
using test::Bounds;
using test::Documents;
using test::Run;
using test::Scenario;

/// One of each weighting and of each row scale; how they are combined is the CPU's affair.
std::vector<base::AnySection> variants(const std::string& kind) {
  using kernels::ScaleKind;
  const auto section = [](const auto& options) { return base::AnySection::of(options); };
  std::vector<base::AnySection> all{normalizers::find(kind).options()};
  if (kind == "ssmax") all = {section(normalizers::ssmax::Options{.bias = true})};
  for (auto& options : test::telling_options(kind)) all.push_back(std::move(options));
  if (kind == "self_adjust") {
    using normalizers::self_adjust::Options;
    using normalizers::self_adjust::Variant;
    for (const Variant variant : {Variant::plain, Variant::shifted, Variant::min_max}) {
      all.push_back(section(Options{variant, {}}));
    }
    all.push_back(section(Options{Variant::normalized, {.kind = ScaleKind::ssmax}}));
  }
  return all;
}

/// Rows of any kind and alignment.
const std::vector<Scenario> kRowScenarios = {
    {"documents", {.time = 37, .head_size = 24}, Documents::several, Bias::alibi},
    {"cache",
     {.batch = 1,
      .time = 3,
      .heads = 3,
      .groups = 1,
      .head_size = 17,
      .first_position = 600,
      .spare_keys = 5},
     Documents::one,
     Bias::none},
};
/// What the fused kernels take: more than a tile of queries and of keys, multiples of neither.
const std::vector<Scenario> kFusedScenarios = {
    {"plain",
     {.batch = 1, .time = 150, .heads = 2, .groups = 2, .head_size = 64},
     Documents::one,
     Bias::none},
    {"wide",
     {.batch = 1, .time = 140, .heads = 2, .groups = 1, .head_size = 128},
     Documents::several,
     Bias::alibi},
    {"cache",
     {.time = 70, .heads = 2, .groups = 1, .head_size = 40, .first_position = 90, .spare_keys = 9},
     Documents::several,
     Bias::none},
};
/// Documents of few keys, where terms cancel that grow as 1 / spread.
const std::vector<Scenario> kShortRows = {
    {"short rows", {.time = 37, .head_size = 24}, Documents::several, Bias::none},
    {"short rows with a bias", {.time = 37, .head_size = 24}, Documents::several, Bias::alibi},
};
/// As kFusedScenarios, with more keys than few heads take in one pass of the backward.
const std::vector<Scenario> kManyKeysScenarios = {
    {"many keys",
     {.batch = 1,
      .time = 40,
      .heads = 2,
      .groups = 1,
      .head_size = 40,
      .first_position = 1030,
      .spare_keys = 9},
     Documents::several,
     Bias::none},
    {"many keys, wide",
     {.batch = 1, .time = 36, .heads = 2, .groups = 2, .head_size = 128, .first_position = 1000},
     Documents::one,
     Bias::alibi},
};

/// More tiles of keys than warpgroups have in shared memory.
const std::vector<Scenario> kWarpgroupScenarios = {
    {"many tiles",
     {.batch = 1, .time = 300, .heads = 1, .groups = 1, .head_size = 64},
     Documents::one,
     Bias::none},
    {"many tiles, wide",
     {.batch = 1, .time = 270, .heads = 1, .groups = 1, .head_size = 96},
     Documents::several,
     Bias::none},
};

class DeviceNormalizer : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (device::gpus().found.empty()) GTEST_SKIP() << device::gpus().reason;
    if (!normalizers::find(GetParam()).has_cuda) GTEST_SKIP() << GetParam() << " has no kernels";
  }

  test::Place on_device(std::int64_t gap) const { return {device::gpu_device(), gap}; }

  void for_all(const std::vector<Scenario>& scenarios, const test::Body& body) const {
    test::for_all(GetParam(), variants(GetParam()), scenarios, body);
  }
};

INSTANTIATE_TEST_SUITE_P(All, DeviceNormalizer, testing::ValuesIn(test::kinds()),
                         [](const auto& kind) { return kind.param; });

/// Rows of three elements more than the heads: not aligned. Of eight more: aligned for bf16.
constexpr std::int64_t kOddGap = 3;
constexpr std::int64_t kEvenGap = 8;

// Half of it is room for a GPU's own exponentials and divisions. Scores reach 30 with a rounding of
// 2^-24 each; with 600 keys one key of a row takes nearly all weight, and keeps its digits.
TEST_P(DeviceNormalizer, Fp32AgreesWithDouble) {
  for_all(kRowScenarios, [&](const auto&, const auto& normalizer, const auto& c) {
    test::expect_close(
        test::run_attention<float>(normalizer, test::with_unwritten_keys(c),
                                   Run::forward_and_backward, 0.0, on_device(kOddGap)),
        test::run_attention<double>(normalizer, c), normalizer.parameters(),
        {3e-6, 5e-6, 1e-5, 2e-5});
  });
}

// Where the gradient of p_n looks for the row of n keys: documents of one row, and of so many that
// their ends are found in large steps. Bounds as above.
TEST(DeviceLearnedLength, DocumentsOfAllLengthsAgreeWithDouble) {
  if (device::gpus().found.empty()) GTEST_SKIP() << device::gpus().reason;
  const auto& entry = normalizers::find("learned_length");
  const auto normalizer = entry.make(entry.options());
  AttentionCase c =
      test::make_case({.batch = 2, .time = 137, .heads = 3, .groups = 1, .head_size = 8},
                      *normalizer, Documents::one, Bias::none, 9);
  for (const std::vector<int>& documents :
       {std::vector<int>{1, 2, 64, 3, 67}, std::vector<int>{100, 1, 36}}) {
    std::int32_t begin = 0;
    for (const int rows : documents) {
      c.first_key.insert(c.first_key.end(), static_cast<std::size_t>(rows), begin);
      begin += rows;
    }
  }
  test::expect_close(test::run_attention<float>(*normalizer, c, Run::forward_and_backward, 0.0,
                                                {device::gpu_device(), kOddGap}),
                     test::run_attention<double>(*normalizer, c), normalizer->parameters(),
                     {3e-6, 5e-6, 1e-5, 2e-5});
}

// By rows all sums are fp32 and what remains is one rounding of the result to eight bits: 1.7e-3 in
// the mean square of numbers of all sizes, at most 2^-8. D is summed in fp32 too, so the sink's
// gradient is as exact as a row scale's.
TEST_P(DeviceNormalizer, Bf16RowsAgreeWithDouble) {
  for_all({kRowScenarios[0]}, [&](const auto&, const auto& normalizer, const auto& c) {
    test::expect_close(test::run_attention<Bf16>(normalizer, c, Run::forward_and_backward, 0.0,
                                                 on_device(kOddGap)),
                       test::run_attention<double>(normalizer, c), normalizer.parameters(),
                       {2.5e-3, 2.5e-3, 3e-6, 1e-5});
  });
}

// The matrix units want weights and gradients of scores in bf16, each off by 1.7e-3 in the mean
// square, and the result is rounded once more. dq is a sum that cancels (the gradients of a row's
// scores add up to 0), and takes D from the stored output: up to ten times that. In one pass dk
// takes that D too: about 5e-3, in short rows 6e-3, and by the roundings of other matrix units a
// little less or more.
void expect_rounded(const AttentionResult& found, const AttentionResult& exact) {
  EXPECT_LT(test::relative_rms(found.out, exact.out), 4e-3);
  EXPECT_LT(test::relative_rms(found.dq, exact.dq), 2e-2);
  EXPECT_LT(test::relative_rms(found.dk, exact.dk), 1e-2);
  EXPECT_LT(test::relative_rms(found.dv, exact.dv), 4e-3);
}

/// Row i of (B, H, T) in (B, T, H).
std::int64_t row_of_queries(const AttentionShape& s, std::size_t i) {
  const auto row = static_cast<std::int64_t>(i);
  const std::int64_t b = row / (s.heads * s.time);
  return (b * s.time + row % s.time) * s.heads + row / s.time % s.heads;
}

/// Whether weights are those of Softmax, whose backward is one pass where keys are few.
bool weighs_as_softmax(const std::string& kind) {
  static const std::set<std::string> kKinds{"softmax", "ssmax", "learned_length", "log_n",
                                            "temperature"};
  return kKinds.contains(kind);
}

// In two passes nothing that goes into dc and the gradients of row scales and sink is rounded; dc
// cancels in rows that one key dominates, where L of 2^-24 |x| shows. In one pass dc is a sum of dx
// in bf16, and D is off by the rounding of the output: together some 3e-3, as in dk. Gradients of
// parameters are the same sums of dc in both, and cancel as chance has it.
TEST_P(DeviceNormalizer, FusedAgreesWithDouble) {
  for_all(kFusedScenarios, [&](const auto&, const auto& normalizer, const auto& c) {
    const AttentionResult found =
        test::run_attention<Bf16>(normalizer, test::with_unwritten_keys(c),
                                  Run::forward_and_backward, 0.0, on_device(kEvenGap));
    const AttentionResult exact = test::run_attention<double>(normalizer, c);
    expect_rounded(found, exact);
    if (weighs_as_softmax(GetParam())) {
      EXPECT_LT(test::relative_rms(found.dc, exact.dc), 7e-3);
    } else {
      test::expect_close(found, exact, normalizer.parameters(), {4e-3, 2e-2, 1e-5, 1e-4});
    }
  });
}

TEST_P(DeviceNormalizer, FusedOnShortRowsAgreesWithDouble) {
  for_all(kShortRows, [&](const auto&, const auto& normalizer, const auto& c) {
    const AttentionResult found = test::run_attention<Bf16>(
        normalizer, c, Run::forward_and_backward, 0.0, on_device(kEvenGap));
    const AttentionResult exact = test::run_attention<double>(normalizer, c);
    expect_rounded(found, exact);
  });
}

// Forward and, of Softmax's weights, the backward in one pass; the others' shows whether the rows
// are saved as it expects them.
TEST_P(DeviceNormalizer, FusedByWarpgroupsAgreesWithDouble) {
  if (GetParam() == "entmax") GTEST_SKIP() << "goes by rows";
  if (device::capability_major(device::gpu_device()) != 9) {
    GTEST_SKIP() << "compute capability 9.0 only";
  }
  const base::SettingScope scope(kernels::set_attention_form, kernels::AttentionForm::wgmma);
  std::vector<Scenario> scenarios = kWarpgroupScenarios;
  scenarios.insert(scenarios.end(), kFusedScenarios.begin() + 1, kFusedScenarios.end());
  for_all(scenarios, [&](const auto&, const auto& normalizer, const auto& c) {
    const auto run = [&](test::Run what) {
      return test::run_attention<Bf16>(normalizer, test::with_unwritten_keys(c), what, 0.0,
                                       on_device(kEvenGap));
    };
    const AttentionResult found = run(Run::forward_and_backward);
    expect_rounded(found, test::run_attention<double>(normalizer, c));
    EXPECT_EQ(run(Run::forward).out, found.out);
  });
}

// As on the CPU. In two passes dc is as good: it is summed in fp32, and what D lacks is put right.
TEST_P(DeviceNormalizer, SmallAndLargeScoresAgreeWithDouble) {
  if (GetParam() == "entmax" || (weighs_as_softmax(GetParam()) && GetParam() != "softmax")) {
    GTEST_SKIP() << "entmax is solved as on the CPU, and the others weigh as softmax does";
  }
  for_all({kShortRows[0]}, [&](const auto&, const auto& normalizer, const auto& some) {
    for (const double factor : {0x1p-10, 8.0}) {
      SCOPED_TRACE("queries times " + std::to_string(factor));
      const AttentionCase c = test::with_scores_times(factor, some);
      const AttentionResult exact = test::run_attention<double>(normalizer, c);
      AttentionResult rows = test::run_attention<float>(normalizer, c, Run::forward_and_backward,
                                                        0.0, on_device(kOddGap));
      AttentionResult fused = test::run_attention<Bf16>(normalizer, c, Run::forward_and_backward,
                                                        0.0, on_device(kEvenGap));
      // Softpick's dc vanishes with the scores; nothing reads it.
      if (GetParam() == "softpick" && factor < 1) rows.dc = fused.dc = exact.dc;
      test::expect_close(rows, exact, normalizer.parameters(), {3e-6, 1e-5, 1e-5, 2e-5});
      EXPECT_LT(test::relative_rms(fused.out, exact.out), 4e-3);
      if (weighs_as_softmax(GetParam())) continue;
      EXPECT_LT(test::relative_rms(fused.dc, exact.dc), 1e-4);
    }
  });
}

// In the fused passes exponentials are off by 2 ulp, of which 1 / S shows up to five times as much;
// dq and dk feel the rounding of the stored output whatever the scores.
TEST(DeviceSoftpick, SmallScoresKeepTheirDigits) {
  if (device::gpus().found.empty()) GTEST_SKIP() << device::gpus().reason;
  const auto& entry = normalizers::find("softpick");
  for (const Scenario& scenario : {kShortRows[0], kFusedScenarios[2]}) {
    test::for_all("softpick", {entry.options()}, {scenario},
                  [](const auto&, const auto& normalizer, const auto& some) {
                    for (const AttentionCase& c : test::with_small_scores(some)) {
                      const auto run = [&]<class T>(T, std::int64_t gap) {
                        return test::run_attention<T>(normalizer, c, Run::forward_and_backward, 0.0,
                                                      {device::gpu_device(), gap});
                      };
                      const AttentionResult exact = test::run_attention<double>(normalizer, c);
                      AttentionResult rows = run(0.0F, kOddGap);
                      rows.dc = exact.dc;
                      test::expect_close(rows, exact, {}, {1e-6, 3e-6, 1e-6, 1e-6});
                      const AttentionResult fused = run(Bf16(0.0F), kEvenGap);
                      EXPECT_LT(test::relative_rms(fused.out, exact.out), 4e-3);
                      EXPECT_LT(test::relative_rms(fused.dv, exact.dv), 4e-3);
                      EXPECT_LT(test::relative_rms(fused.rows, exact.rows), 3e-6);
                    }
                  });
  }
}

TEST_P(DeviceNormalizer, FusedOnManyKeysAgreesWithDouble) {
  if (GetParam() == "entmax") GTEST_SKIP() << "goes by rows, however many keys there are";
  for_all(kManyKeysScenarios, [&](const auto&, const auto& normalizer, const auto& c) {
    const AttentionResult found =
        test::run_attention<Bf16>(normalizer, test::with_unwritten_keys(c),
                                  Run::forward_and_backward, 0.0, on_device(kEvenGap));
    const AttentionResult exact = test::run_attention<double>(normalizer, c);
    expect_rounded(found, exact);
    test::expect_close(found, exact, normalizer.parameters(), {4e-3, 2e-2, 1e-5, 1e-4});
  });
}

// The emulator draws the order of threads and blocks anew for every launch.
TEST_P(DeviceNormalizer, RepeatsGiveTheSameBits) {
  for_all({kFusedScenarios[2]}, [&](const auto&, const auto& normalizer, const auto& c) {
    for (const std::int64_t gap : {kOddGap, kEvenGap}) {
      const auto run = [&] {
        return test::run_attention<Bf16>(normalizer, c, Run::forward_and_backward, 0.0,
                                         on_device(gap));
      };
      test::expect_same_bits(run(), run());
    }
  });
}

// Few queries go by rows, many through the fused kernels: the bound of FusedAgreesWithDouble for
// the latter, by element, where elements are of size 1.
TEST_P(DeviceNormalizer, RowsOneByOneAreTheWholePass) {
  for_all({kFusedScenarios[2]}, [&](const auto&, const auto& normalizer, const auto& c) {
    const auto run = [&](const AttentionCase& some) {
      return test::run_attention<Bf16>(normalizer, some, Run::forward, 0.0, on_device(kEvenGap));
    };
    const AttentionShape& s = c.shape;
    const AttentionResult whole = run(c);
    for (const std::int64_t t : {std::int64_t{0}, std::int64_t{41}, s.time - 1}) {
      const AttentionResult row = run(test::single_query(c, t));
      const std::int64_t width = s.heads * s.head_size;
      for (std::int64_t i = 0; i < s.batch * width; ++i) {
        const auto at = static_cast<std::size_t>((i / width * s.time + t) * width + i % width);
        const double value = row.out[static_cast<std::size_t>(i)];
        ASSERT_NEAR(value, whole.out[at], 2e-2 * (1 + std::abs(value)));
      }
    }
  });
}

// Equal keys give equal scores bit for bit, and minimum and maximum go to the first.
TEST_P(DeviceNormalizer, TiesGoToTheFirstKey) {
  if (GetParam() != "self_adjust") GTEST_SKIP() << "no gradient through an extreme";
  for_all({kManyKeysScenarios[1]}, [&](const auto&, const auto& normalizer, AttentionCase c) {
    const auto row = static_cast<std::ptrdiff_t>(c.shape.groups * c.shape.head_size);
    for (auto key = c.k.begin(); std::distance(key, c.k.end()) > 2 * row; key += 2 * row) {
      std::copy(key, key + row, key + row);
    }
    test::expect_close(test::run_attention<Bf16>(normalizer, c, Run::forward_and_backward, 0.0,
                                                 on_device(kEvenGap)),
                       test::run_attention<double>(normalizer, c), normalizer.parameters(),
                       {4e-3, 2e-2, 1e-5, 1e-4});
  });
}

/// The queries as c q, rounded to bf16: what a library without row scales makes of SSMax.
AttentionCase prescaled(const AttentionCase& c, const std::vector<double>& scale) {
  AttentionCase result = c;
  const AttentionShape& s = c.shape;
  for (std::size_t i = 0; i < result.q.size(); ++i) {
    const auto row = static_cast<std::int64_t>(i) / s.head_size;
    const std::int64_t head = row / s.heads / s.time * s.heads + row % s.heads;
    const double factor = scale[static_cast<std::size_t>(head * s.time + row / s.heads % s.time)];
    result.q[i] = static_cast<double>(Bf16(factor * c.q[i]));
  }
  result.parameters.clear();
  return result;
}

/// dc as autograd has it of queries that were scaled: q.dq' with dq' as it is stored.
std::vector<double> dc_of_scaled(const AttentionCase& c, const AttentionResult& scaled) {
  const AttentionShape& s = c.shape;
  std::vector<double> dc(scaled.dc.size());
  for (std::size_t i = 0; i < dc.size(); ++i) {
    const auto at = static_cast<std::ptrdiff_t>(row_of_queries(s, i)) * s.head_size;
    dc[i] = std::inner_product(c.q.begin() + at, c.q.begin() + at + s.head_size,
                               scaled.dq.begin() + at, 0.0);
  }
  return dc;
}

// In fp32 the scale costs a score 2^-24 of itself; in bf16 queries 2^-9, which the row's L = ln sum
// e^x shows before the output's own rounding covers it.
TEST(DeviceAccuracy, ScaleInTheExponentBeatsScaledQueries) {
  if (device::gpus().found.empty()) GTEST_SKIP() << device::gpus().reason;
  const auto& softmax_entry = normalizers::find("softmax");
  const auto softmax = softmax_entry.make(softmax_entry.options());
  const auto ssmax = normalizers::find("ssmax").make(
      base::AnySection::of(normalizers::ssmax::Options{.learn_scale = false}));
  for (const double query_scale : {1.0, 3.0}) {
    const AttentionShape shape{.batch = 1, .time = 192, .heads = 2, .groups = 2, .head_size = 64};
    const AttentionCase c =
        test::make_case(shape, *ssmax, Documents::one, Bias::none, 31, query_scale);
    const auto run = [&](const kernels::AttentionNormalizer& normalizer, const AttentionCase& of) {
      return test::run_attention<Bf16>(normalizer, of, Run::forward, 0.0,
                                       {device::gpu_device(), kEvenGap});
    };
    const AttentionResult exact = test::run_attention<double>(*ssmax, c, Run::forward);
    const AttentionResult plain_exact = test::run_attention<double>(*softmax, c, Run::forward);
    const AttentionResult folded = run(*ssmax, c);
    const AttentionResult scaled = run(*softmax, prescaled(c, exact.c));
    const double plain = test::relative_rms(run(*softmax, c).out, plain_exact.out);
    const double folded_out = test::relative_rms(folded.out, exact.out);
    const double scaled_out = test::relative_rms(scaled.out, exact.out);
    const double folded_rows = test::relative_rms(folded.rows, exact.rows);
    const double scaled_rows = test::relative_rms(scaled.rows, exact.rows);
    std::printf(
        "query scale %.0f: out: Softmax %.1e, SSMax %.1e, of scaled queries %.1e; "
        "L: SSMax %.1e, of scaled queries %.1e\n",
        query_scale, plain, folded_out, scaled_out, folded_rows, scaled_rows);
    EXPECT_LT(folded_out, 1.2 * plain);
    EXPECT_GT(scaled_out, 1.5 * folded_out);
    EXPECT_GT(scaled_rows, 1000 * folded_rows);
  }
}

// Two passes take dc from fp32 scores, one pass from centered sums; autograd has q.dq' of the
// stored dq', where nothing takes care of what D lacks.
TEST(DeviceAccuracy, GradientOfTheScaleBeatsThatOfScaledQueries) {
  if (device::gpus().found.empty()) GTEST_SKIP() << device::gpus().reason;
  const auto& softmax_entry = normalizers::find("softmax");
  const auto softmax = softmax_entry.make(softmax_entry.options());
  const auto ssmax = normalizers::find("ssmax").make(
      base::AnySection::of(normalizers::ssmax::Options{.learn_scale = false}));
  const AttentionShape one{.batch = 1, .time = 192, .heads = 2, .groups = 2, .head_size = 64};
  AttentionShape two = one;
  two.time = 64;
  two.first_position = 1024;
  for (const auto& [passes, shape, better] :
       {std::tuple{"one pass", one, 5.0}, {"two passes", two, 100.0}}) {
    for (const double query_scale : {1.0, 3.0}) {
      const AttentionCase c =
          test::make_case(shape, *ssmax, Documents::one, Bias::none, 31, query_scale);
      const auto run = [&](const kernels::AttentionNormalizer& normalizer,
                           const AttentionCase& of) {
        return test::run_attention<Bf16>(normalizer, of, Run::forward_and_backward, 0.0,
                                         {device::gpu_device(), kEvenGap});
      };
      const AttentionResult exact = test::run_attention<double>(*ssmax, c);
      const double folded = test::relative_rms(run(*ssmax, c).dc, exact.dc);
      const double scaled =
          test::relative_rms(dc_of_scaled(c, run(*softmax, prescaled(c, exact.c))), exact.dc);
      std::printf("%s, query scale %.0f: dc: SSMax %.1e, of scaled queries %.1e\n", passes,
                  query_scale, folded, scaled);
      EXPECT_GT(scaled, better * folded);
    }
  }
}

// Where digits were lost when what cancels was subtracted: docs/results/accuracy_attention.md.
TEST(DeviceAccuracy, SmallAndLargeScores) {
  if (device::gpus().found.empty()) GTEST_SKIP() << device::gpus().reason;
  using namespace normalizers;
  const kernels::ScaleOptions scale{.kind = kernels::ScaleKind::ssmax, .bias = true};
  const auto section = [](const auto& options) { return base::AnySection::of(options); };
  struct Line {
    const char* kind;
    base::AnySection options;
    double factor;
  };
  const std::vector<Line> all = {
      {"softpick", section(softpick::Options{}), 0x1p-20},
      {"softpick", section(softpick::Options{}), 0x1p-13},
      {"softpick", section(softpick::Options{}), 0x1p-7},
      {"self_adjust", section(self_adjust::Options{self_adjust::Variant::min_max, scale}), 0x1p-13},
      {"self_adjust", section(self_adjust::Options{self_adjust::Variant::min_max, scale}), 32.0},
      {"ssmax", section(normalizers::ssmax::Options{.bias = true}), 32.0},
      {"sink", section(sink::Options{true, 0.0, {.kind = kernels::ScaleKind::ssmax}}), 32.0},
  };
  const AttentionShape shape{.batch = 1, .time = 40, .heads = 2, .groups = 1, .head_size = 16};
  for (const Line& line : all) {
    const auto normalizer = find(line.kind).make(line.options);
    const AttentionCase c = test::with_scores_times(
        line.factor, test::make_case(shape, *normalizer, Documents::one, Bias::none, 77));
    const AttentionResult exact = test::run_attention<double>(*normalizer, c);
    const auto print = [&](const char* form, const AttentionResult& found) {
      std::printf("%s, queries times %.0e, %s: out %.1e, weights %.1e, dq %.1e, dc %.1e\n",
                  line.kind, line.factor, form, test::relative_rms(found.out, exact.out),
                  test::relative_rms(found.weights, exact.weights),
                  test::relative_rms(found.dq, exact.dq), test::relative_rms(found.dc, exact.dc));
    };
    const auto run = [&]<class T>(T, const test::Place& place) {
      return test::run_attention<T>(*normalizer, c, Run::forward_and_backward, 0.0, place);
    };
    const AttentionResult cpu = run(0.0F, {});
    const AttentionResult rows = run(0.0F, {device::gpu_device(), kOddGap});
    print("CPU fp32", cpu);
    print("CUDA fp32", rows);
    print("CUDA fused", run(Bf16(0.0F), {device::gpu_device(), kEvenGap}));
    for (const AttentionResult* found : {&cpu, &rows}) {
      EXPECT_LT(test::relative_rms(found->weights, exact.weights), 1e-6);
      EXPECT_LT(test::relative_rms(found->dq, exact.dq), 5e-6);
    }
  }
}

}  // namespace
}  // namespace ssmax
