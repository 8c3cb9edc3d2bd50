#include <iostream>

#include "app/choice.h"
#include "app/command.h"
#include "app/open_model.h"
#include "base/format.h"
#include "base/log.h"
#include "base/partial_folder.h"
#include "base/progress.h"
#include "checkpoint/hugging_face/export_model.h"

namespace ssmax::app {

namespace {

namespace hf = checkpoint::hugging_face;

constexpr auto kDTypes = std::to_array<base::EnumName<checkpoint::FileDType>>(
    {{checkpoint::FileDType::f32, "fp32"}, {checkpoint::FileDType::bf16, "bf16"}});

struct ExportOptions {
  std::string checkpoint;
  std::string out;
  checkpoint::FileDType dtype = checkpoint::FileDType::f32;
  std::string tokenizer;
  double file_gigabytes = 5.0;
  double temperature = hf::kDefaultTemperature;
  bool with_code = false;
};

void run_export(const ExportOptions& options) {
  base::require_absent_or_empty(options.out);
  const checkpoint::LoadedCheckpoint loaded = checkpoint::load(options.checkpoint);
  for (const std::string& warning : loaded.warnings()) base::log_warning(warning);
  const train::RunConfig config = train::saved_config(loaded).resolved();
  hf::ExportOptions how;
  how.dtype = options.dtype;
  how.temperature = options.temperature;
  how.with_code = options.with_code;
  how.file_bytes = static_cast<std::int64_t>(options.file_gigabytes * 1e9);
  how.tokenizer = tokenizer_of(options.tokenizer, config, loaded);

  const hf::ExportReport report = hf::export_model(
      loaded, base::config_json(config.model), options.out, how, base::byte_progress("exporting"));
  std::cout << "wrote " << options.out << ": " << hf::class_name(report.form) << ", "
            << choice_name(kDTypes, options.dtype) << ", " << base::format_bytes(report.bytes)
            << " in " << report.files.size() << (report.files.size() == 1 ? " file\n" : " files\n");
  for (const std::string& note : report.notes) std::cout << "note: " << note << '\n';
}

}  // namespace

void add_export(CLI::App& program) {
  auto* command =
      program.add_subcommand("export", "Write a checkpoint as a folder for Hugging Face");
  command->footer(
      "Softmax models become LlamaForCausalLM or GPT2LMHeadModel, SSMax without b on the Llama\n"
      "shape Ministral3ForCausalLM (transformers 5), without code of their own. Every other model\n"
      "gets modeling_ssmax.py beside its weights and is loaded with trust_remote_code=True.\n"
      "Example:  ssmax export runs/b --out hf/b --dtype bf16");
  auto options = std::make_shared<ExportOptions>();
  command->add_option("CHECKPOINT", options->checkpoint, "A checkpoint or a run's folder")
      ->required();
  command->add_option("--out", options->out, "Folder to write; must not exist yet, or be empty")
      ->required();
  add_choice(*command, "--dtype", options->dtype, kDTypes, "Of the weights; fp32 is exact");
  command->add_option("--tokenizer", options->tokenizer, kModelTokenizerHelp);
  command->add_option("--file-gigabytes", options->file_gigabytes, "Size that splits the weights")
      ->check(positive_number())
      ->capture_default_str();
  command
      ->add_option("--temperature", options->temperature,
                   "T of SSMax as Ministral3; 1024 for weights that will be fp16 or quantized")
      ->check(number_between(1.0, 1e9))
      ->capture_default_str();
  command->add_flag("--with-code", options->with_code,
                    "Write modeling_ssmax.py for every model; W_q of SSMax stays as it is then");
  command->callback([options] { run_export(*options); });
}

}  // namespace ssmax::app
