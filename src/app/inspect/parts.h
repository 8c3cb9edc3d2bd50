#pragma once

#include <cstdint>
#include <filesystem>
#include <iosfwd>
#include <string>

#include "base/json_value.h"
#include "base/progress.h"

/// What `ssmax inspect` shows of each kind of file; one per file of this folder. All print what
/// they can before they throw, and throw Error(checkpoint) or Error(data) when something is
/// damaged.
namespace ssmax::app {

/// Six significant digits.
std::string number_text(double value);
std::string number_text(std::int64_t value);

/// No JSON file of ours is longer; a file given by mistake must not fill the memory.
inline constexpr std::int64_t kMaxJsonBytes = std::int64_t{64} << 20;

base::JsonValue read_json(const std::filesystem::path& file);
/// The leaves under their dotted keys.
void print_values(std::ostream& out, const base::JsonValue& value);
/// Of bytes, while a file is read as a whole.
base::Progress reading(const std::filesystem::path& file);

void inspect_tensors(std::ostream& out, const std::filesystem::path& file);
void inspect_checkpoint(std::ostream& out, const std::filesystem::path& folder);
void inspect_run(std::ostream& out, const std::filesystem::path& folder);
/// `tokenizer` shows the text of the first tokens; none when empty.
void inspect_shard(std::ostream& out, const std::filesystem::path& file,
                   const std::string& tokenizer);
/// A folder that `prepare` wrote.
void inspect_data(std::ostream& out, const std::filesystem::path& folder);
void inspect_tokenizer(std::ostream& out, const std::filesystem::path& file);
/// Documents for `ssmax prepare`, examples for fine-tuning or others.
void inspect_json_lines(std::ostream& out, const std::filesystem::path& file);
void inspect_metrics(std::ostream& out, const std::filesystem::path& file);
void inspect_log(std::ostream& out, const std::filesystem::path& file);
void inspect_tensorboard(std::ostream& out, const std::filesystem::path& file);

/// Whether a config.json is of Hugging Face, which names the class of transformers that reads it.
bool is_hugging_face(const base::JsonValue& config);
/// A model that `ssmax export` wrote or `ssmax import` is to read.
void inspect_hugging_face(std::ostream& out, const std::filesystem::path& folder,
                          const base::JsonValue& config);

}  // namespace ssmax::app
