#include <gtest/gtest.h>

#include <cmath>

#include "base/config.h"
#include "base/random.h"
#include "checkpoint/checkpoint_fixture.h"
#include "checkpoint/hugging_face/export_model.h"
#include "checkpoint/hugging_face/import_model.h"
#include "model/model.h"

namespace ssmax::checkpoint::hugging_face {
namespace {

using device::DType;

model::ModelConfig tiny(const std::vector<std::string>& overrides) {
  model::ModelConfig config;
  config.vocab_size = 261;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 4;
  config.hidden_size = 16;
  config.intermediate_size = 12;
  config.max_position_embeddings = 10;
  base::override_config(config, overrides);
  return config;
}

const std::vector<std::string> kGpt2 = {"norm=layer_norm", "mlp=gelu", "position.kind=learned",
                                        "bias=true", "tie_word_embeddings=true"};

/// A model with every weight drawn, norms and normalizers too.
struct Drawn {
  explicit Drawn(const model::ModelConfig& given, std::uint64_t seed = 5)
      : config(given), model(config, DType::f32, params::Gradients::none, arena) {
    const params::ParameterSet& set = model.parameters();
    for (int i = 0; i < set.count(); ++i) {
      float* values = set.master(i).data<float>();
      for (std::int64_t k = 0; k < set.master(i).elements(); ++k) {
        values[k] = static_cast<float>(base::random_uniform(seed + static_cast<std::uint64_t>(i),
                                                            base::random_stream("draw"),
                                                            static_cast<std::uint64_t>(k)) -
                                       0.25);
      }
    }
  }

  LoadedCheckpoint saved(const fs::path& run) const {
    const CheckpointStore store(run, 2);
    store.prepare(1 << 20);
    Manifest manifest;
    const std::vector<std::int64_t> none(model.parameters().specs().size(), 0);
    add_step_counts(manifest, model.parameters(), none);
    const device::Tensor& moments = model.parameters().flat_master();  // whatever they are
    store.save(manifest, tensor_files(model_tensors(model.parameters()),
                                      moment_tensors(model.parameters(), moments, moments)));
    return load(run);
  }

  device::Arena arena;
  model::ModelConfig config;
  model::Model model;
};

/// The files of divided weights, sorted.
std::vector<std::string> parts_of(const fs::path& folder) {
  std::vector<std::string> parts = names_in(folder);
  std::erase_if(parts, [](const std::string& name) { return !name.starts_with("model-"); });
  return parts;
}

class FoldersTest : public ::testing::Test {
 protected:
  ExportReport export_to(const fs::path& out, const Drawn& drawn, const ExportOptions& options) {
    const LoadedCheckpoint loaded = drawn.saved(folder_.path() / "run");
    return export_model(loaded, base::config_json(drawn.config), out, options);
  }

  /// Exports, imports, and compares every weight bit by bit.
  void expect_round_trip(const model::ModelConfig& config, Form form,
                         const ExportOptions& options = {}) {
    const fs::path out = folder_.path() / "export";
    fs::remove_all(out);
    fs::remove_all(folder_.path() / "run");
    const Drawn drawn(config);
    EXPECT_EQ(export_to(out, drawn, options).form, form);
    const ForeignModel foreign(out);
    model::ModelConfig back;
    base::untyped::ConfigReader reader(base::section_info<model::ModelConfig>(), &back);
    reader.read_text(base::to_text(foreign.config().model), "config.json");
    reader.finish();
    EXPECT_TRUE(base::config_differences(config, back).empty())
        << base::config_differences(config, back).front().key;
    const Drawn again(back, 77);
    foreign.read(again.model.parameters());
    EXPECT_TRUE(
        same_bytes(drawn.model.parameters().flat_master(), again.model.parameters().flat_master()));
  }

  TemporaryFolder folder_;
};

TEST_F(FoldersTest, llama_there_and_back) {
  expect_round_trip(tiny({}), Form::llama);
  expect_round_trip(tiny({"num_key_value_heads=2", "bias=true", "tie_word_embeddings=true"}),
                    Form::llama);
}

TEST_F(FoldersTest, gpt2_there_and_back) {
  expect_round_trip(tiny(kGpt2), Form::gpt2);
  std::vector<std::string> untied = kGpt2;
  untied.back() = "tie_word_embeddings=false";
  expect_round_trip(tiny(untied), Form::gpt2);
}

/// As the files of the model without its head name them.
TEST_F(FoldersTest, gpt2_is_read_without_its_prefix) {
  const Drawn drawn(tiny(kGpt2));
  const fs::path out = folder_.path() / "export";
  export_to(out, drawn, {});
  const SafetensorsFile file(out / kSingleFile);
  device::Arena arena;
  std::vector<NamedTensor> tensors;
  for (const TensorInfo& info : file.tensors()) {
    const device::Tensor values = arena.allocate("values", DType::f32, device::Shape(info.shape));
    file.read(info.name, values);
    tensors.push_back({info.name.substr(std::string_view("transformer.").size()), values, {}});
  }
  write_safetensors(out / kSingleFile, tensors, {});
  const Drawn again(drawn.config, 77);
  ForeignModel(out).read(again.model.parameters());
  EXPECT_TRUE(
      same_bytes(drawn.model.parameters().flat_master(), again.model.parameters().flat_master()));
}

TEST_F(FoldersTest, the_attention_temperature_is_ministral) {
  expect_round_trip(
      tiny({"normalizer.kind=temperature", "normalizer.beta=0.5", "normalizer.original_length=4"}),
      Form::ministral3);
}

TEST_F(FoldersTest, every_kind_there_and_back) {
  for (const auto& entry : normalizers::entries()) {
    SCOPED_TRACE(entry.kind);
    const std::string kind = "normalizer.kind=" + std::string(entry.kind);
    expect_round_trip(tiny({kind, "position.kind=alibi"}), Form::own);
    expect_round_trip(tiny({kind, "norm=layer_norm", "bias=true", "position.kind=none"}),
                      Form::own);
  }
}

TEST_F(FoldersTest, what_a_public_form_lacks_keeps_our_own) {
  expect_round_trip(tiny({"normalizer.kind=ssmax", "bias=true"}), Form::own);
  std::vector<std::string> groups = kGpt2;
  groups.emplace_back("num_key_value_heads=2");
  expect_round_trip(tiny(groups), Form::own);
}

TEST_F(FoldersTest, several_files_have_an_index) {
  ExportOptions options;
  options.file_bytes = 6000;
  expect_round_trip(tiny({"normalizer.kind=sink"}), Form::own, options);
  const fs::path out = folder_.path() / "export";
  EXPECT_TRUE(fs::exists(out / kIndexFile));
  EXPECT_FALSE(fs::exists(out / kSingleFile));
  EXPECT_GE(parts_of(out).size(), 3U);
  std::int64_t bytes = 0;
  for (const std::string& part : parts_of(out)) {
    const SafetensorsFile file(out / part);
    for (const TensorInfo& tensor : file.tensors()) bytes += tensor.bytes();
  }
  EXPECT_NE(read_all(out / kIndexFile).find("\"total_size\": " + std::to_string(bytes)),
            std::string::npos);
  EXPECT_TRUE(fs::exists(out / "modeling_ssmax.py"));
}

TEST_F(FoldersTest, a_gpt2_without_biases_gets_zeros) {
  std::vector<std::string> plain = kGpt2;
  plain[3] = "bias=false";
  const Drawn drawn(tiny(plain));
  const fs::path out = folder_.path() / "export";
  EXPECT_EQ(export_to(out, drawn, {}).form, Form::gpt2);
  std::vector<float> bias(48, 1.0F);
  WeightFolder(out).read_converted("transformer.h.1.attn.c_attn.bias",
                                   device::view(bias.data(), {48}));
  EXPECT_EQ(bias, std::vector<float>(48, 0.0F));
}

/// Row r of W_q belongs to head r / 4.
void expect_scaled_queries(const Drawn& drawn, const fs::path& out, double temperature,
                           const std::string& scale) {
  const params::ParameterSet& set = drawn.model.parameters();
  const std::string attention = "model.layers.1.self_attn.";
  std::vector<float> found(256);
  WeightFolder(out).read_converted(attention + "q_proj.weight",
                                   device::view(found.data(), {16, 16}));
  const float* weight = set.master(set.find(attention + "q_proj.weight")).data<float>();
  const int index = set.find(scale);
  for (std::size_t i = 0; i < found.size(); ++i) {
    const double s = index < 0 ? 0.5 : set.master(index).data<float>()[i / 64];
    EXPECT_EQ(found[i], static_cast<float>(weight[i] * (s / temperature)));
  }
}

TEST_F(FoldersTest, ssmax_is_a_temperature_with_scaled_queries) {
  const Drawn drawn(tiny({"normalizer.kind=ssmax", "num_key_value_heads=2"}));
  const fs::path out = folder_.path() / "export";
  ExportOptions options;
  options.temperature = 1024.0;
  const ExportReport report = export_to(out, drawn, options);
  EXPECT_EQ(report.form, Form::ministral3);
  expect_scaled_queries(drawn, out, 1024.0, "model.layers.1.self_attn.normalizer.scale");
  EXPECT_EQ(WeightFolder(out).find("model.layers.1.self_attn.normalizer.scale"), nullptr);
  EXPECT_NE(report.notes.back().find("T = 1024"), std::string::npos) << report.notes.back();
  // The import sees the temperature that was written.
  const ForeignModel foreign(out);
  const base::JsonValue& normalizer = *foreign.config().model.find("normalizer");
  EXPECT_EQ(normalizer.find("kind")->text, "temperature");
  EXPECT_EQ(normalizer.find("beta")->number, 1024.0);
}

TEST_F(FoldersTest, a_fixed_scale_is_folded_too) {
  const Drawn drawn(tiny(
      {"normalizer.kind=ssmax", "normalizer.learn_scale=false", "normalizer.initial_scale=0.5"}));
  const fs::path out = folder_.path() / "export";
  EXPECT_EQ(export_to(out, drawn, {}).form, Form::ministral3);
  expect_scaled_queries(drawn, out, kDefaultTemperature, "none");
}

TEST_F(FoldersTest, bf16_rounds_weights_and_keeps_normalizers) {
  const Drawn drawn(tiny({"normalizer.kind=ssmax", "normalizer.bias=true"}));
  const fs::path out = folder_.path() / "export";
  ExportOptions options;
  options.dtype = FileDType::bf16;
  EXPECT_EQ(export_to(out, drawn, options).form, Form::own);
  const WeightFolder weights(out);
  EXPECT_EQ(weights.find("model.norm.weight")->dtype, FileDType::bf16);
  EXPECT_EQ(weights.find("model.layers.0.self_attn.normalizer.bias")->dtype, FileDType::f32);
}

TEST_F(FoldersTest, the_tokenizer_cuts_the_padding_of_the_vocabulary) {
  const Drawn drawn(tiny({"tie_word_embeddings=false"}));
  const fs::path out = folder_.path() / "export";
  ExportOptions options;
  options.tokenizer = corpus::Tokenizer::byte_level();
  export_to(out, drawn, options);
  const WeightFolder weights(out);
  EXPECT_EQ(weights.find("lm_head.weight")->shape_text(), "(257, 16)");
  EXPECT_EQ(weights.find("model.embed_tokens.weight")->shape_text(), "(257, 16)");
  EXPECT_EQ(ForeignModel(out).config().model.find("vocab_size")->integer, 257);
  EXPECT_EQ(corpus::Tokenizer::load(out).hash(), corpus::Tokenizer::byte_level().hash());
}

TEST_F(FoldersTest, an_export_does_not_touch_what_is_there) {
  const Drawn drawn(tiny({}));
  const fs::path out = folder_.path() / "export";
  fs::create_directories(out);
  write_all(out / "mine.txt", "mine");
  const std::string error =
      error_of(base::ErrorKind::usage, [&] { export_to(out, drawn, ExportOptions()); });
  EXPECT_NE(error.find("not an empty folder"), std::string::npos) << error;
  EXPECT_EQ(names_in(out), std::vector<std::string>{"mine.txt"});
}

// --- imports that must be refused
// -------------------------------------------------------------------

/// An exported folder whose files a test damages.
class ImportTest : public FoldersTest {
 protected:
  void SetUp() override {
    out_ = folder_.path() / "export";
    const Drawn drawn(config_);
    ExportOptions options;
    options.file_bytes = 6000;
    export_to(out_, drawn, options);
    arena_ = std::make_unique<device::Arena>();
    target_ = std::make_unique<model::Model>(config_, DType::f32, params::Gradients::none, *arena_);
  }

  void import_all() const { ForeignModel(out_).read(target_->parameters()); }

  fs::path out_;
  model::ModelConfig config_ = tiny(kGpt2);
  std::unique_ptr<device::Arena> arena_;
  std::unique_ptr<model::Model> target_;
};

/// Replaces the file by one with other tensors.
void rewrite(const fs::path& path, const std::function<void(std::vector<NamedTensor>&)>& change) {
  const SafetensorsFile file(path);
  std::vector<std::vector<float>> data;
  std::vector<NamedTensor> tensors;
  for (const TensorInfo& info : file.tensors()) {
    data.emplace_back(static_cast<std::size_t>(info.elements()));
    const device::Tensor view = device::view(data.back().data(), device::Shape(info.shape));
    file.read_converted(info.name, view);
    tensors.push_back({info.name, view});
  }
  change(tensors);
  write_safetensors(path, tensors);
}

TEST_F(ImportTest, names_and_shapes_are_strict) {
  const auto error_after = [&](const std::function<void(std::vector<NamedTensor>&)>& change) {
    const fs::path first = out_ / parts_of(out_).front();
    const std::string before = read_all(first);
    rewrite(first, change);
    std::string error = checkpoint_error([&] { import_all(); });
    write_all(first, before);
    return error;
  };
  EXPECT_EQ(checkpoint_error([&] { import_all(); }), "");
  EXPECT_NE(error_after([](auto& tensors) { tensors[0].name = "x"; }).find("does not name"),
            std::string::npos);
  EXPECT_NE(
      error_after([](auto& tensors) {
        tensors[0].tensor = tensors[0].tensor.reshaped({16, 261});
      }).find("of another shape: transformer.wte.weight (expected (261, 16), found (16, 261)"),
      std::string::npos);
  EXPECT_NE(error_after([](auto& tensors) {
              const_cast<float*>(tensors[0].tensor.template data<float>())[3] = NAN;
            }).find("index 3 is not finite"),
            std::string::npos);
}

TEST_F(ImportTest, an_index_must_agree_with_its_files) {
  const std::string index = read_all(out_ / kIndexFile);
  const auto error_with = [&](const std::string& from, const std::string& to) {
    std::string text = index;
    text.replace(text.find(from), from.size(), to);
    write_all(out_ / kIndexFile, text);
    std::string error = checkpoint_error([&] { import_all(); });
    write_all(out_ / kIndexFile, index);
    return error;
  };
  EXPECT_NE(error_with("model-00001-of", "../model-00001-of").find("of this folder"),
            std::string::npos);
  EXPECT_NE(error_with("model-00001-of", "model-00077-of"), "");
  EXPECT_NE(error_with("\"transformer.wte.weight\"", "\"transformer.other\"").find("not"),
            std::string::npos);
  EXPECT_NE(error_with("\"weight_map\"", "\"weights\"").find("weight_map"), std::string::npos);
  const std::string positions = "\"transformer.wpe.weight\": \"";
  const std::string first = parts_of(out_).at(0);
  const std::string file = index.substr(index.find(positions) + positions.size(), first.size());
  const std::string other = parts_of(out_).at(file == first ? 1 : 0);
  EXPECT_NE(error_with(positions + file, positions + other).find("places in " + other),
            std::string::npos);
  EXPECT_NE(
      error_with(positions, "\"ghost\": \"" + first + "\", " + positions).find("does not hold"),
      std::string::npos);
  fs::remove(out_ / parts_of(out_).at(1));
  EXPECT_NE(checkpoint_error([&] { import_all(); }), "");
}

TEST_F(ImportTest, a_config_of_another_model_is_refused_before_memory_is_taken) {
  const std::string config = read_all(out_ / "config.json");
  const auto error_with = [&](const std::string& from, const std::string& to) {
    std::string text = config;
    text.replace(text.find(from), from.size(), to);
    write_all(out_ / "config.json", text);
    return checkpoint_error([&] { ForeignModel(out_).check(target_->parameters().specs()); });
  };
  EXPECT_NE(error_with("\"n_layer\": 2", "\"n_layer\": 200000000").find("num_hidden_layers"),
            std::string::npos);
  EXPECT_NE(error_with("\"n_embd\": 16", "\"n_embd\": 200000000").find("of another shape"),
            std::string::npos);
  EXPECT_NE(error_with("\"n_head\": 4", "\"n_head\": 5").find("multiple of 5 heads"),
            std::string::npos);
}

TEST_F(ImportTest, flipped_and_cut_files_never_pass_for_others) {
  // Flips in weights give other weights of the same names; those of text must be refused or
  // harmless.
  const auto attempt = [&] {
    try {
      ForeignModel(out_).check(target_->parameters().specs());
    } catch (const base::Error& error) {
      EXPECT_EQ(error.kind(), base::ErrorKind::checkpoint) << error.what();
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    }
  };
  for (const std::string name : {"config.json", "model.safetensors.index.json"}) {
    const std::string text = read_all(out_ / name);
    for (std::size_t i = 0; i < 700; ++i) {
      const std::size_t at = (i * 7919) % text.size();
      std::string damaged = text;
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << (i % 8)));
      write_all(out_ / name, damaged);
      attempt();
    }
    for (std::size_t at = 0; at < text.size(); at += 16) {
      write_all(out_ / name, text.substr(0, at));
      EXPECT_NE(checkpoint_error([&] { ForeignModel(out_).check(target_->parameters().specs()); }),
                "")
          << name << " cut at " << at;
    }
    write_all(out_ / name, text);
  }
}

TEST_F(ImportTest, an_output_layer_that_is_not_the_embedding_is_no_tie) {
  // With one file, so that the index need not know.
  fs::remove_all(out_);
  const Drawn drawn(config_);
  export_to(out_, drawn, {});
  std::vector<float> output(261 * 16, 1.0F);
  rewrite(out_ / kSingleFile, [&](auto& tensors) {
    tensors.push_back({"lm_head.weight", device::view(output.data(), {261, 16})});
  });
  EXPECT_NE(checkpoint_error([&] { import_all(); }).find("tie_word_embeddings"), std::string::npos);
}

}  // namespace
}  // namespace ssmax::checkpoint::hugging_face
