#include "app/inspect/inspect.h"

#include <array>
#include <cstdio>
#include <iostream>
#include <memory>

#include "app/command.h"
#include "app/inspect/parts.h"
#include "app/table.h"
#include "base/errors.h"
#include "base/read_file.h"
#include "base/strict_json.h"
#include "base/text.h"
#include "checkpoint/checkpoint_store.h"
#include "checkpoint/lock.h"

namespace ssmax::app {

namespace fs = std::filesystem;

using base::ErrorKind;
using base::JsonValue;

std::string number_text(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.6g", value);
  return text.data();
}

std::string number_text(std::int64_t value) { return std::to_string(value); }

JsonValue read_json(const fs::path& file) {
  return base::parse_json_value(base::read_text_file(file, ErrorKind::usage, kMaxJsonBytes),
                                file.string(), ErrorKind::usage);
}

void print_values(std::ostream& out, const JsonValue& value) {
  Table table({"key", "value"}, {Align::left, Align::left});
  for (const auto& [key, text] : base::leaves_of(value)) {
    table.add({base::printable(key, 200), base::printable(text, 100)});
  }
  table.print(out);
}

base::Progress reading(const fs::path& file) {
  base::ProgressOptions style;
  style.bytes = true;
  return {"reading " + file.string(), static_cast<std::int64_t>(fs::file_size(file)), style};
}

namespace {

/// A manifest of a checkpoint says its format as a number, one of data as a name.
bool is_checkpoint_manifest(const JsonValue& manifest) {
  const JsonValue* format = manifest.find("format");
  return format != nullptr && format->type == JsonValue::Type::integer;
}

void inspect_json(std::ostream& out, const fs::path& path) {
  const JsonValue value = read_json(path);
  if (path.filename() == checkpoint::kManifestName) {
    const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
    return is_checkpoint_manifest(value) ? inspect_checkpoint(out, folder)
                                         : inspect_data(out, folder);
  }
  out << path.string() << ": JSON\n\n";
  print_values(out, value);
}

void inspect_line(std::ostream& out, const fs::path& path, const char* what) {
  const std::string text = base::read_text_file(path, ErrorKind::usage, kMaxJsonBytes);
  out << path.string() << ": " << what << ": "
      << base::printable(text.substr(0, text.find('\n')), 200) << '\n';
}

/// Files that are known by their names, whatever they hold; false for others.
bool inspect_by_name(std::ostream& out, const fs::path& path) {
  const std::string name = path.filename().string();
  if (name == "metrics.jsonl") {
    inspect_metrics(out, path);
  } else if (name == "log.txt") {
    inspect_log(out, path);
  } else if (name == "tokenizer.json") {
    inspect_tokenizer(out, path);
  } else if (name == "merges.txt") {
    inspect_tokenizer(out, path.has_parent_path() ? path.parent_path() : fs::path("."));
  } else if (name == "latest" || name == checkpoint::kLockName) {
    inspect_line(out, path,
                 name == checkpoint::kLockName ? "the last that worked in this folder"
                                               : "the newest checkpoint when it was written");
  } else if (name.starts_with("events.out.tfevents.")) {
    inspect_tensorboard(out, path);
  } else {
    return false;
  }
  return true;
}

void inspect_folder(std::ostream& out, const fs::path& path) {
  if (fs::exists(path / checkpoint::kManifestName)) {
    return inspect_json(out, path / checkpoint::kManifestName);
  }
  if (fs::exists(checkpoint::checkpoints_folder(path))) return inspect_run(out, path);
  if (fs::exists(path / "config.json")) {
    const JsonValue config = read_json(path / "config.json");
    return is_hugging_face(config) ? inspect_hugging_face(out, path, config)
                                   : inspect_run(out, path);
  }
  if (fs::exists(path / "metrics.jsonl")) return inspect_run(out, path);
  if (fs::exists(path / "tokenizer.json") || fs::exists(path / "merges.txt")) {
    return inspect_tokenizer(out, path);
  }
  const fs::path above = fs::absolute(path / ".").lexically_normal().parent_path().parent_path();
  if (!checkpoint::step_folders(above).empty() &&
      fs::equivalent(path, checkpoint::checkpoints_folder(above))) {
    return inspect_run(out, above);
  }
  throw base::Error(ErrorKind::usage,
                    path.string() +
                        ": expected manifest.json (a checkpoint, prepared data), checkpoints, "
                        "config.json or metrics.jsonl (a run, a Hugging Face model) or "
                        "tokenizer.json, found none of them");
}

}  // namespace

void inspect(std::ostream& out, const fs::path& path, const std::string& tokenizer) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) {
    throw base::Error(ErrorKind::usage, path.string() + ": no such file or folder");
  }
  const std::string extension = path.extension().string();
  if (fs::is_directory(path, ignored)) return inspect_folder(out, path);
  if (inspect_by_name(out, path)) return;
  if (extension == ".safetensors") return inspect_tensors(out, path);
  if (extension == ".bin") return inspect_shard(out, path, tokenizer);
  if (extension == ".jsonl") return inspect_json_lines(out, path);
  if (extension == ".json") return inspect_json(out, path);
  throw base::Error(ErrorKind::usage, path.string() +
                                          ": expected a folder, a file .safetensors, .bin, "
                                          ".jsonl or .json, log.txt or TensorBoard events, found " +
                                          (extension.empty() ? "no extension" : extension));
}

void add_inspect(CLI::App& program) {
  struct Options {
    std::string path;
    std::string tokenizer;
  };
  const auto options = std::make_shared<Options>();
  CLI::App* command = program.add_subcommand(
      "inspect", "Show what is in any file or folder that this program writes");
  command
      ->add_option("FILE_OR_DIR", options->path,
                   "A safetensors file, checkpoint, run, Hugging Face folder, token shard, "
                   "prepared data, metrics, log or JSON file")
      ->required();
  command->add_option("--tokenizer", options->tokenizer,
                      "Show a shard's first tokens as text: \"bytes\", a file or a folder");
  command->callback([options] { inspect(std::cout, options->path, options->tokenizer); });
}

}  // namespace ssmax::app
