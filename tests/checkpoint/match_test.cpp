#include "checkpoint/match.h"

#include "checkpoint/checkpoint_config.h"
#include "checkpoint/checkpoint_fixture.h"

namespace ssmax::checkpoint {
namespace {

using params::Init;
using Names = std::vector<std::string>;

const std::string kScale = "model.layers.0.self_attn.normalizer.scale";
const std::string kBias = "model.layers.0.self_attn.normalizer.bias";
const Names kAllowed = {"model.normalizer"};

class MatchTest : public testing::Test {
 protected:
  void SetUp() override {
    const CheckpointStore store(run_.path(), 2);
    store.prepare(0);
    store.save(saved_.manifest(10), saved_.files());
  }
  LoadedCheckpoint checkpoint() const { return load(run_.path()); }

  TemporaryFolder run_;
  TinyRun saved_;
};

TEST_F(MatchTest, the_same_model_loads_everything) {
  const SwapReport report = match_parameters(checkpoint(), saved_.parameters);
  EXPECT_EQ(report.loaded.size(), 4U);
  EXPECT_TRUE(report.created.empty());
  EXPECT_TRUE(report.dropped.empty());
  EXPECT_EQ(to_text(report), "loaded   4 tensors\n");
}

TEST_F(MatchTest, a_new_normalizer_needs_leave) {
  const TinyRun other(3, TinyRun::specs({}));
  const std::string error =
      checkpoint_error([&] { match_parameters(checkpoint(), other.parameters); });
  EXPECT_NE(error.find("unexpected 1: " + kScale), std::string::npos) << error;
  EXPECT_NE(error.find("start.allow_change=[\"model.normalizer\"]"), std::string::npos) << error;
  const Names wrong = {"model.norm", "data", "model.normalizer.kind"};
  EXPECT_NE(checkpoint_error([&] { match_parameters(checkpoint(), other.parameters, wrong); }), "");
  EXPECT_EQ(match_parameters(checkpoint(), other.parameters, kAllowed).dropped, Names{kScale});
  EXPECT_EQ(match_parameters(checkpoint(), other.parameters, Names{"model"}).dropped,
            Names{kScale});
}

TEST_F(MatchTest, the_report_says_what_is_loaded_created_and_dropped) {
  TinyRun other(
      3, TinyRun::specs({{kBias, {4}, {Init::Kind::constant, 0.5}},
                         {"model.normalizer.length_scale", {64}, {Init::Kind::log_length}}}));
  const SwapReport report = load_parameters(checkpoint(), other.parameters, {"model.normalizer"});
  EXPECT_EQ(to_text(report),
            "loaded   3 tensors\n"
            "created  " +
                kBias +
                " = 0.5\n"
                "created  model.normalizer.length_scale = ln(1), ln(2), ln(3), ...\n"
                "dropped  " +
                kScale + "\n");
  // What was created keeps its start, what was loaded has the file's values.
  const device::Tensor bias = other.parameters.master(other.parameters.find(kBias));
  EXPECT_EQ(bias.data<float>()[3], 0.5F);
  EXPECT_TRUE(same_bytes(other.parameters.master(0), saved_.parameters.master(0)));
}

TEST_F(MatchTest, a_normalizer_of_another_shape_is_created_anew) {
  TinyRun other(3, TinyRun::specs({{kScale, {1}, {Init::Kind::constant, 0.43}}}));
  EXPECT_NE(checkpoint_error([&] {
              match_parameters(checkpoint(), other.parameters);
            }).find("of another shape 1: " + kScale + " (expected (1), found (4))"),
            std::string::npos);
  const SwapReport report = load_parameters(checkpoint(), other.parameters, kAllowed);
  ASSERT_EQ(report.created.size(), 1U);
  EXPECT_EQ(report.created[0].value, "0.43");
  EXPECT_EQ(report.dropped, Names{kScale + " (4)"});
  const std::vector<std::int64_t> step_counts =
      load_moments(checkpoint(), other.parameters, other.first, other.second);
  EXPECT_EQ(step_counts, (std::vector<std::int64_t>{10, 10, 0, 10}));
}

TEST_F(MatchTest, nothing_else_may_differ) {
  const Init one{Init::Kind::constant, 1.0};
  TinyRun::Specs specs = TinyRun::specs();
  specs[0].shape = {151, 16};
  specs[1].name = "model.layers.0.self_attn.k_proj.weight";
  for (int i = 1; i <= 9; ++i) {
    specs.push_back({"model.layers." + std::to_string(i) + ".x", {2}, one});
  }
  const TinyRun other(3, specs);
  const std::string error =
      checkpoint_error([&] { match_parameters(checkpoint(), other.parameters, kAllowed); });
  for (const char* part :
       {"of another shape 1: model.embed_tokens.weight (expected (151, 16), found (150, 16))",
        "missing 10: model.layers.0.self_attn.k_proj.weight, model.layers.1.x", ", ...",
        "unexpected 1: model.layers.0.self_attn.q_proj.weight"}) {
    EXPECT_NE(error.find(part), std::string::npos) << part << " in " << error;
  }
  EXPECT_EQ(error.find("model.layers.5.x"), std::string::npos) << error;
  EXPECT_EQ(error.find("allow_change"), std::string::npos) << error;
}

TEST_F(MatchTest, a_created_parameter_starts_without_a_past) {
  TinyRun other(3, TinyRun::specs({{kScale, {4}, {Init::Kind::constant, 1.0}},
                                   {kBias, {4}, {Init::Kind::constant, 0.0}}}));
  load_parameters(checkpoint(), other.parameters, kAllowed);
  const std::vector<std::int64_t> step_counts =
      load_moments(checkpoint(), other.parameters, other.first, other.second);
  EXPECT_EQ(step_counts, (std::vector<std::int64_t>{10, 10, 10, 0, 10}));
  const std::int64_t begin = other.parameters.range(3).begin;
  for (std::int64_t i = 0; i < 4; ++i) {
    EXPECT_EQ(other.first.data<float>()[begin + i], 0.0F);
    EXPECT_EQ(other.second.data<float>()[begin + i], 0.0F);
  }
  // A checkpoint of the changed model resumes with all of its counts.
  Manifest manifest;
  manifest.step = 12;
  add_step_counts(manifest, other.parameters, step_counts);
  const CheckpointStore store(run_.path(), 2);
  store.save(manifest, other.files());
  EXPECT_EQ(load_moments(checkpoint(), other.parameters, other.first, other.second), step_counts);
}

TEST_F(MatchTest, moments_that_are_not_whole_are_refused) {
  std::vector<TensorFile> files = saved_.files();
  const CheckpointStore store(run_.path(), 2);
  files[1].tensors.erase(files[1].tensors.begin());
  store.save(saved_.manifest(20), files);
  EXPECT_NE(checkpoint_error([&] {
              load_moments(checkpoint(), saved_.parameters, saved_.first, saved_.second);
            }).find("found the second only"),
            std::string::npos);
  files = saved_.files();
  const device::ConstTensor moment = files[1].tensors[0].tensor;
  files[1].tensors[0].tensor = moment.reshaped({moment.elements()});
  store.save(saved_.manifest(25), files);
  EXPECT_NE(checkpoint_error([&] {
              load_moments(checkpoint(), saved_.parameters, saved_.first, saved_.second);
            }).find("expected the shape (150, 16), found (2400)"),
            std::string::npos);
  Manifest without_counts = saved_.manifest(30);
  without_counts.state.clear();
  store.save(without_counts, saved_.files());
  EXPECT_NE(checkpoint_error([&] {
              load_moments(checkpoint(), saved_.parameters, saved_.first, saved_.second);
            }).find("step_count."),
            std::string::npos);
  // A checkpoint of weights alone is one without a past.
  store.save(saved_.manifest(40), tensor_files(model_tensors(saved_.parameters)));
  EXPECT_EQ(load_moments(checkpoint(), saved_.parameters, saved_.first, saved_.second),
            std::vector<std::int64_t>(4, 0));
}

TEST(IsAllowed, by_whole_parts_of_the_key) {
  EXPECT_TRUE(is_allowed("model.normalizer", kAllowed));
  EXPECT_TRUE(is_allowed("model.normalizer.kind", kAllowed));
  EXPECT_FALSE(is_allowed("model.normalizers", kAllowed));
  EXPECT_FALSE(is_allowed("model", kAllowed));
  EXPECT_FALSE(is_allowed("model.normalizer", {}));
  const Names empty = {""};
  EXPECT_FALSE(is_allowed("model.normalizer", empty));
}

TEST(CheckpointConfig, defaults_and_limits) {
  const auto config = base::parse_config<CheckpointConfig>("{}", "test");
  EXPECT_EQ(config.every_steps, 1000);
  EXPECT_EQ(config.keep, 3);
  EXPECT_NE(error_of(base::ErrorKind::usage,
                     [] { base::parse_config<CheckpointConfig>(R"({"keep": 1})", "test"); }),
            "");
}

}  // namespace
}  // namespace ssmax::checkpoint
