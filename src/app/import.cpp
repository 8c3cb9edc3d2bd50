#include <filesystem>
#include <iostream>

#include "app/command.h"
#include "app/write_run.h"
#include "base/log.h"
#include "base/progress.h"
#include "checkpoint/hugging_face/import_model.h"
#include "checkpoint/match.h"
#include "corpus/tokenizer.h"
#include "model/model.h"

namespace ssmax::app {

namespace {

namespace fs = std::filesystem;
namespace hf = checkpoint::hugging_face;

struct ImportOptions {
  std::string folder;
  std::string out;
};

/// A run that trains the imported model at the length it was made for.
train::RunConfig run_config_of(const hf::ForeignConfig& foreign, const fs::path& folder,
                               const fs::path& out) {
  using base::JsonValue;
  JsonValue data = JsonValue::object();
  data.add("sequence_length", *foreign.model.find("max_position_embeddings"));
  JsonValue training = JsonValue::object();
  training.add("precision", JsonValue::of(foreign.dtype == "float32" ? "fp32" : "bf16"));
  JsonValue root = JsonValue::object();
  root.add("name", JsonValue::of(name_of_run(out)));
  root.add("model", foreign.model);
  root.add("data", std::move(data));
  root.add("training", std::move(training));
  const std::string source = (folder / hf::kConfigFile).string();
  try {
    return base::parse_config<train::RunConfig>(base::to_text(root), source).resolved();
  } catch (const base::Error& error) {
    throw base::Error(base::ErrorKind::checkpoint, error.what());
  }
}

/// The run's tokenizer.json from the folder's, where ours can read it.
void import_tokenizer(const fs::path& folder, const fs::path& out, std::int64_t vocab_size) {
  std::string reason;
  try {
    const corpus::Tokenizer tokenizer = corpus::Tokenizer::load(folder);
    if (tokenizer.vocab_size() <= vocab_size) return tokenizer.write_json(out / "tokenizer.json");
    reason = "its tokenizer has " + std::to_string(tokenizer.vocab_size()) +
             " ids, more than the model's " + std::to_string(vocab_size);
  } catch (const base::Error& error) {
    if (error.kind() != base::ErrorKind::data) throw;
    reason = error.what();
  }
  base::log_warning("no tokenizer was imported: " + reason);
}

void run_import(const ImportOptions& options) {
  if (!checkpoint::step_folders(options.folder).empty()) {
    throw base::Error(base::ErrorKind::usage,
                      options.folder +
                          " is a run of this program, which every command takes as it is; expected "
                          "a folder from Hugging Face");
  }
  checkpoint::require_no_checkpoints(options.out);
  const hf::ForeignModel foreign(options.folder);
  const train::RunConfig config = run_config_of(foreign.config(), options.folder, options.out);
  {
    // Names and shapes first: what is hostile must not cost memory.
    device::Arena counting({}, device::ArenaMode::plan);
    const model::Model planned(config.model, device::DType::f32, params::Gradients::none, counting);
    foreign.check(planned.parameters().specs());
  }
  device::Arena arena;
  const model::Model model(config.model, device::DType::f32, params::Gradients::none, arena);
  const params::ParameterSet& parameters = model.parameters();
  base::Progress progress("importing", parameters.parameter_elements());
  foreign.read(parameters,
               [&](std::int64_t done, std::int64_t /*total*/) { progress.update(done); });
  progress.finish();

  checkpoint::Manifest manifest;
  manifest.seed = config.seed;
  const std::vector<std::int64_t> none(parameters.specs().size(), 0);
  checkpoint::add_step_counts(manifest, parameters, none);
  const checkpoint::SaveReport saved =
      write_run(options.out, config, manifest,
                checkpoint::tensor_files(checkpoint::model_tensors(parameters)));
  import_tokenizer(options.folder, options.out, config.model.vocab_size);
  std::cout << "imported " << hf::class_name(foreign.config().form) << ", "
            << parameters.parameter_elements() << " parameters in " << parameters.count()
            << " tensors\nwrote " << saved.folder.string() << '\n';
}

}  // namespace

void add_import(CLI::App& program) {
  auto* command =
      program.add_subcommand("import", "Make a checkpoint of a folder from Hugging Face");
  command->footer(
      "Reads GPT-2, Llama, Mistral and Ministral 3 models, and what `ssmax export` wrote. What "
      "our\n"
      "models cannot compute, such as RoPE scaling or sliding windows, is refused by name.\n"
      "Example:  ssmax import downloads/gpt2 --out runs/gpt2\n"
      "          ssmax swap runs/gpt2 --out runs/gpt2_ssmax --model.normalizer.kind=ssmax");
  auto options = std::make_shared<ImportOptions>();
  command->add_option("FOLDER", options->folder, "config.json and safetensors")->required();
  command->add_option("--out", options->out, "Run folder of the checkpoint; must hold none yet")
      ->required();
  command->callback([options] { run_import(*options); });
}

}  // namespace ssmax::app
