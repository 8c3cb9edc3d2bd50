#include "app/evaluate/evaluate.h"

#include <algorithm>
#include <cstdio>
#include <set>

#include "base/durable_file.h"
#include "base/text.h"
#include "device/core_watch.h"

namespace ssmax::app {

namespace {

constexpr std::string_view kName = "{name}";

/// A misspelled task looks like one more checkpoint to CLI11.
[[noreturn]] void no_task(const Evaluation& evaluation) {
  std::vector<std::string_view> names;
  for (const CLI::App* task : evaluation.command->get_subcommands({})) {
    names.push_back(task->get_name());
  }
  const std::string& last = evaluation.checkpoints.back();
  const std::string nearest(base::nearest(last, names));
  throw base::Error(base::ErrorKind::usage,
                    "evaluate: expected a task after the checkpoints: " + base::join(names, ", ") +
                        (evaluation.checkpoints.size() > 1 && !std::filesystem::exists(last)
                             ? "; found '" + last + "', did you mean '" + nearest + "'?"
                             : std::string()));
}

/// The result of each checkpoint needs a file of its own; asked before hours of work.
void check_files(const std::vector<checkpoint::LoadedCheckpoint>& checkpoints,
                 const ResultFile& result, const std::vector<std::string>& overrides) {
  if (checkpoints.size() == 1 || result.pattern.empty()) return;
  if (result.pattern.find(kName) == std::string::npos) {
    throw base::Error(base::ErrorKind::usage, "--json " + result.pattern +
                                                  " would hold the results of " +
                                                  std::to_string(checkpoints.size()) +
                                                  " checkpoints; put {name} into the file's name");
  }
  std::set<std::string> names;
  for (const checkpoint::LoadedCheckpoint& checkpoint : checkpoints) {
    const std::string name = config_of(checkpoint, overrides).name;
    if (names.insert(name).second) continue;
    throw base::Error(base::ErrorKind::usage, "two checkpoints are named " + name +
                                                  ", so that their results would go to one file, " +
                                                  result.of(name).string() +
                                                  "; evaluate them one at a time");
  }
}

}  // namespace

void ResultFile::add_to(CLI::App& task) {
  task.add_option("--json", pattern,
                  "Write the result to this file too; {name} stands for the run's name");
}

std::filesystem::path ResultFile::of(const std::string& name) const {
  std::string path = pattern;
  const std::size_t at = path.find(kName);
  if (at != std::string::npos) path.replace(at, kName.size(), name);
  return path;
}

void evaluate_each(const Evaluation& evaluation, const ResultFile& result, const Measure& measure) {
  const std::vector<std::string> overrides = overrides_of(*evaluation.command);
  const bool several = evaluation.checkpoints.size() > 1;
  // A damaged or absent one shows before the others were measured.
  std::vector<checkpoint::LoadedCheckpoint> checkpoints;
  for (const std::string& path : evaluation.checkpoints) {
    checkpoints.push_back(checkpoint::load(path));
  }
  check_files(checkpoints, result, overrides);
  for (checkpoint::LoadedCheckpoint& checkpoint : checkpoints) {
    OpenModel open(std::move(checkpoint), overrides);
    const device::CoreWatch cores;
    const std::filesystem::path file = result.of(open.config.name);
    make_folder_of(file);
    if (several) {
      std::printf("%s, %s\n", open.config.name.c_str(), open.loaded.folder().c_str());
    }
    const base::JsonValue json = measure(open, file);
    std::fflush(stdout);
    if (!file.empty()) base::write_file_atomically(file, base::to_text(json) + "\n");
  }
}

base::JsonValue result_of(const char* task, const OpenModel& open) {
  using base::JsonValue;
  JsonValue json = JsonValue::object();
  json.add("task", JsonValue::of(task));
  json.add("checkpoint", JsonValue::of(open.loaded.folder().string()));
  json.add("name", JsonValue::of(open.config.name));
  json.add("step", JsonValue::of(open.loaded.manifest().step));
  json.add("train_length", JsonValue::of(open.config.data.sequence_length));
  json.add("theta", JsonValue::of(open.config.model.position.theta));
  return json;
}

base::JsonValue json_list(const std::vector<double>& values) {
  base::JsonValue list = base::JsonValue::array();
  for (const double value : values) list.items.push_back(base::JsonValue::of(value));
  return list;
}

void add_evaluate(CLI::App& program) {
  auto* command = program.add_subcommand("evaluate", "Measure checkpoints");
  command->footer(
      "Config keys may be overridden, so that a model can be tested beyond its training length:\n"
      "Example:  ssmax evaluate runs/a runs/b positions --data data/books/val_*.bin\n"
      "          --sequence-length 1024 --model.position.theta=500000 --json {name}.json");
  command->allow_extras();
  auto evaluation = std::make_shared<Evaluation>();
  evaluation->command = command;
  command
      ->add_option("CHECKPOINT", evaluation->checkpoints, "Checkpoints or runs' folders, in turn")
      ->required();
  command->require_subcommand(0, 1);
  add_loss_tasks(*command, evaluation);
  add_needle_tasks(*command, evaluation);
  add_normalizer_tasks(*command, evaluation);
  add_choice_tasks(*command, evaluation);
  add_logits_task(*command, evaluation);
  command->callback([evaluation] {
    if (evaluation->command->get_subcommands().empty()) no_task(*evaluation);
  });
}

}  // namespace ssmax::app
