#include "app/evaluate/evaluate.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <utility>

#include "app/evaluate/names.h"
#include "base/durable_file.h"
#include "base/read_file.h"
#include "base/strict_json.h"
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
  std::string found;
  if (evaluation.checkpoints.size() == 1 && std::ranges::find(names, last) != names.end()) {
    found = "; found '" + last + "' and no checkpoint in front of it";
  } else if (evaluation.checkpoints.size() > 1 && !std::filesystem::exists(last)) {
    found = "; found '" + last + "', did you mean '" + nearest + "'?";
  }
  throw base::Error(base::ErrorKind::usage, "evaluate: expected a task after the checkpoints: " +
                                                base::join(names, ", ") + found);
}

/// Only an earlier result may be replaced: {name}.json is also what a config may be called.
void check_replaceable(const std::filesystem::path& file) {
  std::error_code error;
  if (file.empty() || !std::filesystem::exists(file, error)) return;
  try {
    const std::string text = base::read_text_file(file, base::ErrorKind::usage);
    const auto json = base::parse_json_value(text, file.string(), base::ErrorKind::usage);
    if (json.find("task") != nullptr) return;
  } catch (const base::Error&) {  // no result either
  }
  throw base::Error(base::ErrorKind::usage, "--json " + file.string() +
                                                " would replace a file that is no result of "
                                                "evaluate; choose another name");
}

std::vector<std::string> names_of(const std::vector<checkpoint::LoadedCheckpoint>& checkpoints,
                                  const std::vector<std::string>& overrides) {
  std::vector<std::string> names;
  for (const checkpoint::LoadedCheckpoint& checkpoint : checkpoints) {
    names.push_back(train::saved_config(checkpoint, overrides).name);
  }
  return told_apart(std::move(names), checkpoints);
}

/// The result of each checkpoint needs a file of its own; asked before hours of work.
void check_files(const std::vector<checkpoint::LoadedCheckpoint>& checkpoints,
                 const ResultFile& result, const std::vector<std::string>& names) {
  if (result.pattern.empty()) return;
  if (names.size() > 1 && result.pattern.find(kName) == std::string::npos) {
    throw base::Error(base::ErrorKind::usage, "--json " + result.pattern +
                                                  " would hold the results of " +
                                                  std::to_string(names.size()) +
                                                  " checkpoints; put {name} into the file's name");
  }
  std::map<std::filesystem::path, std::filesystem::path> checkpoint_of;
  for (std::size_t i = 0; i < names.size(); ++i) {
    const std::filesystem::path file = result.of(names[i]);
    check_replaceable(file);
    const auto [first, is_new] = checkpoint_of.emplace(file, checkpoints[i].folder());
    if (is_new) continue;
    throw base::Error(base::ErrorKind::usage, "the results of " + first->second.string() +
                                                  " and of " + checkpoints[i].folder().string() +
                                                  " would go to one file, " + file.string() +
                                                  "; name each checkpoint once, or evaluate them "
                                                  "one at a time");
  }
}

/// Tasks stand behind the checkpoints, which CLI11 leaves out of their usage.
class TaskFormatter : public CLI::Formatter {
 public:
  std::string make_usage(const CLI::App* app, std::string name) const override {
    name.insert(name.rfind(' '), " CHECKPOINT...");
    return CLI::Formatter::make_usage(app, name);
  }
};

}  // namespace

void ResultFile::add_to(CLI::App& task) {
  task.add_option("--json", pattern,
                  "Write the result to this file too; {name} stands for the run's name, see ssmax "
                  "evaluate --help");
}

std::filesystem::path ResultFile::of(const std::string& name) const {
  std::string path = pattern;
  const std::size_t at = path.find(kName);
  if (at != std::string::npos) path.replace(at, kName.size(), name);
  return path;
}

void evaluate_each(const Evaluation& evaluation, const ResultFile& result, const Measure& measure) {
  const std::vector<std::string> overrides = overrides_of(*evaluation.command);
  // A damaged or absent one shows before the others were measured.
  std::vector<checkpoint::LoadedCheckpoint> checkpoints;
  for (const std::string& path : evaluation.checkpoints) {
    checkpoints.push_back(checkpoint::load(path));
  }
  const std::vector<std::string> names = names_of(checkpoints, overrides);
  check_files(checkpoints, result, names);
  for (std::size_t i = 0; i < names.size(); ++i) {
    OpenModel open(std::move(checkpoints[i]), overrides);
    open.config.name = names[i];  // what tables and results call it
    const device::CoreWatch cores;
    const std::filesystem::path file = result.of(open.config.name);
    make_folder_of(file);
    if (names.size() > 1) {
      std::printf("%s, %s\n", open.config.name.c_str(), open.loaded.folder().c_str());
    }
    const base::JsonValue json = measure(open, file);
    std::fflush(stdout);
    if (!file.empty()) base::write_file_atomically(file, base::to_text(json) + "\n");
  }
}

std::int64_t even_batch(std::int64_t count, std::int64_t most) {
  std::int64_t batch = std::clamp(most, std::int64_t{1}, count);
  while (count % batch != 0) --batch;
  return batch;
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
      "`ssmax evaluate CHECKPOINT TASK --help` explains a task. Config keys may be overridden, so\n"
      "that a model can be tested beyond its training length:\n"
      "Example:  ssmax evaluate runs/a runs/b positions --data 'data/books/val_*.bin' \\\n"
      "              --sequence-length 1024 --model.position.theta=500000 --json '{name}.json'\n"
      "Runs that have one name go by the shortest end of their paths that tells them apart, in\n"
      "tables and files: runs/1/b and runs/2/b are 1_b and 2_b.");
  command->allow_extras();
  auto evaluation = std::make_shared<Evaluation>();
  evaluation->command = command;
  command
      ->add_option("CHECKPOINT", evaluation->checkpoints, "Checkpoints or runs' folders, in turn")
      ->required();
  command->require_subcommand(0, 1);
  add_loss_tasks(*command, evaluation);
  add_needle_task(*command, evaluation);
  add_attention_task(*command, evaluation);
  add_fading_task(*command, evaluation);
  add_learned_length_task(*command, evaluation);
  add_choice_tasks(*command, evaluation);
  add_logits_task(*command, evaluation);
  for (CLI::App* task : command->get_subcommands({})) {
    task->formatter(std::make_shared<TaskFormatter>());
  }
  command->callback([evaluation] {
    if (evaluation->command->get_subcommands().empty()) no_task(*evaluation);
  });
}

}  // namespace ssmax::app
