#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "app/command.h"
#include "app/open_model.h"

namespace ssmax::app {

/// What stands in front of every task of `ssmax evaluate`.
struct Evaluation {
  const CLI::App* command = nullptr;
  std::vector<std::string> checkpoints;
};

/// Where a task writes its result; empty: only to the terminal.
struct ResultFile {
  std::string pattern;

  /// Adds the option --json.
  void add_to(CLI::App& task);
  /// "{name}" replaced by what the run is called, see told_apart().
  std::filesystem::path of(const std::string& name) const;
};

/// Finds and verifies all checkpoints, then measures one after the other and writes what came out.
/// Error(usage) when two results would go to one file.
using Measure =
    std::function<base::JsonValue(OpenModel& open, const std::filesystem::path& result_file)>;
void evaluate_each(const Evaluation& evaluation, const ResultFile& result, const Measure& measure);

/// Tokens of all sequences that are decoded side by side: enough to keep the matmuls busy.
inline constexpr std::int64_t kTokensSideBySide = 65536;

/// The largest divisor of `count` up to `most`, so that all batches are full; at least 1.
std::int64_t even_batch(std::int64_t count, std::int64_t most);

/// The members every result begins with.
base::JsonValue result_of(const char* task, const OpenModel& open);
base::JsonValue json_list(const std::vector<double>& values);

/// One per file of this folder: adds its tasks.
void add_loss_tasks(CLI::App& evaluate, const std::shared_ptr<Evaluation>& evaluation);
void add_needle_task(CLI::App& evaluate, const std::shared_ptr<Evaluation>& evaluation);
void add_attention_task(CLI::App& evaluate, const std::shared_ptr<Evaluation>& evaluation);
void add_fading_task(CLI::App& evaluate, const std::shared_ptr<Evaluation>& evaluation);
void add_learned_length_task(CLI::App& evaluate, const std::shared_ptr<Evaluation>& evaluation);
void add_choice_tasks(CLI::App& evaluate, const std::shared_ptr<Evaluation>& evaluation);
void add_logits_task(CLI::App& evaluate, const std::shared_ptr<Evaluation>& evaluation);

}  // namespace ssmax::app
