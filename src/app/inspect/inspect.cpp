#include "app/inspect.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <limits>
#include <memory>
#include <optional>
#include <ostream>
#include <vector>

#include "app/table.h"
#include "base/errors.h"
#include "base/format.h"
#include "base/read_file.h"
#include "base/strict_json.h"
#include "base/text.h"
#include "checkpoint/checkpoint_store.h"
#include "checkpoint/hugging_face/config.h"
#include "checkpoint/hugging_face/folder.h"
#include "checkpoint/hugging_face/import_model.h"
#include "checkpoint/load.h"
#include "corpus/manifest.h"
#include "corpus/shard.h"
#include "corpus/tokenizer.h"

namespace ssmax::app {
namespace {

namespace fs = std::filesystem;
namespace hf = checkpoint::hugging_face;

using base::ErrorKind;
using base::JsonValue;

constexpr std::int64_t kChunkElements = std::int64_t{1} << 16;
constexpr std::int64_t kFirstTokens = 32;
constexpr std::int64_t kMaxJsonBytes = std::int64_t{64} << 20;

/// Six significant digits.
std::string number(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.6g", value);
  return text.data();
}

std::string number(std::int64_t value) { return std::to_string(value); }

struct Statistics {
  double least = INFINITY;
  double greatest = -INFINITY;
  double sum = 0.0;
  double squares = 0.0;
  std::int64_t finite = 0;
  std::int64_t not_finite = 0;

  void add(double value) {
    if (!std::isfinite(value)) {
      ++not_finite;
      return;
    }
    least = std::min(least, value);
    greatest = std::max(greatest, value);
    sum += value;
    squares += value * value;
    ++finite;
  }
};

Statistics statistics_of(const checkpoint::SafetensorsFile& file,
                         const checkpoint::TensorInfo& tensor) {
  Statistics result;
  const std::int64_t size = size_of(tensor.dtype);
  std::vector<std::byte> bytes(
      static_cast<std::size_t>(std::min(kChunkElements * size, tensor.bytes())));
  for (std::int64_t offset = 0; offset < tensor.bytes(); offset += kChunkElements * size) {
    const auto part = std::span(bytes).first(
        static_cast<std::size_t>(std::min(kChunkElements * size, tensor.bytes() - offset)));
    file.read_bytes(tensor, offset, part);
    for (const double value : checkpoint::values_of(tensor.dtype, part)) result.add(value);
  }
  return result;
}

void print_tensors(std::ostream& out, const fs::path& path) {
  const checkpoint::SafetensorsFile file(path);
  Table table({"tensor", "dtype", "shape", "min", "max", "mean", "rms", "not finite"},
              {Align::left, Align::left, Align::left});
  std::int64_t elements = 0;
  for (const checkpoint::TensorInfo& tensor : file.tensors()) {
    const Statistics all = statistics_of(file, tensor);
    const auto count = static_cast<double>(all.finite);
    const auto shown = [&](double value) { return all.finite > 0 ? number(value) : "-"; };
    table.add({base::printable(tensor.name), std::string(name_of(tensor.dtype)),
               tensor.shape_text(), shown(all.least), shown(all.greatest), shown(all.sum / count),
               shown(std::sqrt(all.squares / count)), number(all.not_finite)});
    elements += tensor.elements();
  }
  out << path.string() << ": safetensors, " << file.tensors().size() << " tensors, "
      << base::format_count(static_cast<double>(elements)) << " elements, "
      << base::format_bytes(file.bytes()) << "\n\n";
  table.print(out);
  if (file.metadata().empty()) return;
  out << '\n';
  Table metadata({"metadata", "value"}, {Align::left, Align::left});
  for (const auto& [key, value] : file.metadata()) {
    metadata.add({base::printable(key), base::printable(value)});
  }
  metadata.print(out);
}

void print_values(std::ostream& out, const JsonValue& value) {
  Table table({"key", "value"}, {Align::left, Align::left});
  for (const auto& [key, text] : base::leaves_of(value)) {
    table.add({base::printable(key, 200), base::printable(text, 100)});
  }
  table.print(out);
}

JsonValue read_json(const fs::path& path) {
  return base::parse_json_value(base::read_text_file(path, ErrorKind::usage, kMaxJsonBytes),
                                path.string(), ErrorKind::usage);
}

std::string window_text(const std::vector<double>& values) {
  if (values.empty()) return "empty";
  const auto [least, greatest] = std::minmax_element(values.begin(), values.end());
  return std::to_string(values.size()) + " values from " + number(*least) + " to " +
         number(*greatest) + ", last " + number(values.back());
}

void print_manifest(std::ostream& out, const checkpoint::Manifest& manifest) {
  Table table({"key", "value"}, {Align::left, Align::left});
  table.add({"step", number(manifest.step)});
  table.add({"tokens", number(manifest.tokens)});
  table.add({"epoch", number(manifest.epoch)});
  table.add({"global sample index", number(manifest.global_sample_index)});
  table.add({"seed", number(manifest.seed)});
  table.add({"ranks", number(manifest.world_size)});
  table.add({"data", base::printable(manifest.data_fingerprint)});
  table.add({"program", base::printable(manifest.program_version + " " + manifest.git_hash)});
  table.add({"recent losses", window_text(manifest.recent_losses)});
  table.add({"recent norms", window_text(manifest.recent_norms)});
  std::int64_t step_counts = 0;
  for (const auto& [key, value] : manifest.state) {
    if (key.starts_with("step_count.")) {
      ++step_counts;
      continue;
    }
    table.add({"state " + base::printable(key), std::visit(
                                                    []<class T>(const T& held) -> std::string {
                                                      if constexpr (std::is_same_v<T, std::string>)
                                                        return base::printable(held);
                                                      else
                                                        return number(held);
                                                    },
                                                    value)});
  }
  table.add({"step counts", number(step_counts) + " parameters"});
  table.print(out);
}

/// Throws Error(checkpoint) at the end when a file is not what the manifest says.
void inspect_checkpoint(std::ostream& out, const fs::path& folder) {
  const checkpoint::Manifest manifest =
      checkpoint::read_manifest(folder / checkpoint::kManifestName);
  out << folder.string() << ": checkpoint\n\n";
  print_manifest(out, manifest);
  const std::vector<std::string> differences = checkpoint::verify_files(manifest, folder);
  out << '\n';
  Table files({"file", "bytes", "hash", "verified"}, {Align::left, Align::right, Align::left});
  for (const checkpoint::WrittenFile& file : manifest.files) {
    const bool differs =
        std::any_of(differences.begin(), differences.end(), [&](const std::string& text) {
          return text.find((folder / file.name).string()) != std::string::npos;
        });
    files.add({file.name, number(file.bytes), file.xxh3_128, differs ? "DAMAGED" : "yes"});
  }
  files.print(out);
  if (!differences.empty()) {
    std::string message = "the checkpoint is damaged";
    for (const std::string& difference : differences) message += "; " + difference;
    throw base::Error(ErrorKind::checkpoint, message);
  }
  for (const checkpoint::WrittenFile& file : manifest.files) {
    if (!file.name.ends_with(".safetensors")) continue;
    out << '\n';
    print_tensors(out, folder / file.name);
  }
}

/// A row of the table of a run's checkpoints; false when the checkpoint is damaged.
bool add_checkpoint(Table& table, const fs::path& folder) {
  const std::string name = folder.filename().string();
  try {
    const checkpoint::LoadedCheckpoint loaded(folder);
    std::int64_t bytes = 0;
    for (const checkpoint::WrittenFile& file : loaded.manifest().files) bytes += file.bytes;
    table.add({name, number(loaded.manifest().step), number(loaded.manifest().tokens),
               base::format_bytes(bytes), "valid"});
    return true;
  } catch (const base::Error& error) {
    table.add({name, "-", "-", "-", std::string("DAMAGED: ") + error.what()});
    return false;
  }
}

void inspect_metrics(std::ostream& out, const fs::path& path);

void inspect_run(std::ostream& out, const fs::path& folder) {
  out << folder.string() << ": run\n";
  const std::vector<fs::path> checkpoints = checkpoint::step_folders(folder);
  std::int64_t damaged = 0;
  if (!checkpoints.empty()) {
    out << '\n';
    Table table({"checkpoint", "step", "tokens", "size", "state"},
                {Align::left, Align::right, Align::right, Align::right, Align::left});
    for (const fs::path& path : checkpoints) damaged += add_checkpoint(table, path) ? 0 : 1;
    table.print(out);
  }
  if (fs::exists(folder / "metrics.jsonl")) {
    out << '\n';
    inspect_metrics(out, folder / "metrics.jsonl");
  }
  if (fs::exists(folder / "config.json")) {
    out << '\n' << (folder / "config.json").string() << ": config\n\n";
    print_values(out, read_json(folder / "config.json"));
  }
  if (damaged > 0) {
    throw base::Error(ErrorKind::checkpoint, folder.string() + ": " + number(damaged) + " of " +
                                                 std::to_string(checkpoints.size()) +
                                                 " checkpoints are damaged");
  }
}

/// config.json of Hugging Face names the class of transformers that reads it.
bool is_hugging_face(const JsonValue& config) {
  return config.find("architectures") != nullptr || config.find("model_type") != nullptr;
}

/// What of this program, and what of Python, goes on with the folder.
std::string hugging_face_advice(const fs::path& folder, bool own_code) {
  const fs::path config = folder / hf::kConfigFile;
  std::string text = "in Python:     AutoModelForCausalLM.from_pretrained(\"" + folder.string() +
                     (own_code ? "\", trust_remote_code=True)" : "\")") + " of transformers\n";
  try {
    hf::parse_config_json(base::read_text_file(config, ErrorKind::checkpoint, kMaxJsonBytes),
                          config.string());
    return text + "in this program: ssmax import " + folder.string() + " --out runs/NAME\n";
  } catch (const base::Error& error) {
    return text + "in this program: not, ssmax import refuses it: " + error.what() + "\n";
  }
}

/// A model that `ssmax export` wrote or `ssmax import` is to read.
void inspect_hugging_face(std::ostream& out, const fs::path& folder, const JsonValue& config) {
  const JsonValue* classes = config.find("architectures");
  const bool named = classes != nullptr && !classes->items.empty();
  out << folder.string() << ": Hugging Face model"
      << (named ? ", " + base::printable(classes->items.front().text) : "") << '\n'
      << hugging_face_advice(folder, config.find("auto_map") != nullptr) << '\n';
  print_values(out, config);
  // As import opens them, for an index that does not fit its files.
  const hf::WeightFolder weights(folder);
  for (const fs::path& file : weights.files()) {
    out << '\n';
    print_tensors(out, file);
  }
}

void print_tokens(std::ostream& out, const std::vector<std::int32_t>& ids,
                  const std::string& tokenizer) {
  std::string line = "first tokens:";
  for (const std::int32_t id : ids) line += ' ' + std::to_string(id);
  out << line << '\n';
  if (tokenizer.empty()) return;
  const corpus::Tokenizer named = corpus::Tokenizer::named(tokenizer);
  out << "as text: " << base::in_quotes(named.decode(ids), 1000) << '\n';
}

void inspect_shard(std::ostream& out, const fs::path& path, const std::string& tokenizer) {
  const corpus::Shard shard(path);
  out << path.string() << ": token shard, "
      << (shard.type() == corpus::TokenType::uint16 ? "uint16" : "uint32") << ", " << shard.tokens()
      << " tokens, " << base::format_bytes(shard.bytes()) << '\n';
  constexpr std::int64_t kAnyId = std::numeric_limits<std::int32_t>::max();
  std::vector<std::int32_t> ids(static_cast<std::size_t>(std::min(shard.tokens(), kChunkElements)));
  std::int32_t greatest = 0;
  for (std::int64_t first = 0; first < shard.tokens(); first += kChunkElements) {
    const auto part = std::span(ids).first(
        static_cast<std::size_t>(std::min(kChunkElements, shard.tokens() - first)));
    shard.read(part, first, kAnyId);
    greatest = std::max(greatest, *std::max_element(part.begin(), part.end()));
  }
  out << "greatest id: " << greatest << '\n';
  std::vector<std::int32_t> start(static_cast<std::size_t>(std::min(shard.tokens(), kFirstTokens)));
  shard.read(start, 0, kAnyId);
  print_tokens(out, start, tokenizer);
}

void inspect_data(std::ostream& out, const fs::path& folder) {
  const std::optional<corpus::Manifest> manifest = corpus::read_manifest(folder);
  if (!manifest) {
    throw base::Error(ErrorKind::data, folder.string() + ": has no " + corpus::kManifestName);
  }
  out << folder.string() << ": prepared data, tokenizer "
      << base::printable(manifest->tokenizer_name) << ", " << manifest->vocab_size
      << " tokens in the vocabulary, end of text " << manifest->end_of_text << "\n\n";
  Table table({"split", "documents", "tokens", "bytes of text", "bytes per token"}, {Align::left});
  Table files({"file", "split", "tokens", "bytes", "state"},
              {Align::left, Align::left, Align::right, Align::right, Align::left});
  std::string damaged;
  const auto add = [&](const std::string& name, const corpus::ManifestSplit& split) {
    const double ratio =
        split.tokens > 0 ? static_cast<double>(split.text_bytes) / static_cast<double>(split.tokens)
                         : 0.0;
    table.add({name, number(split.documents), number(split.tokens), number(split.text_bytes),
               number(ratio)});
    for (const corpus::ManifestFile& file : split.files) {
      std::error_code error;
      const auto bytes = fs::file_size(folder / file.file, error);
      const bool right = !error && static_cast<std::int64_t>(bytes) == file.bytes;
      files.add({file.file, name, number(file.tokens), number(file.bytes),
                 right   ? "size agrees"
                 : error ? "MISSING"
                         : "OTHER SIZE: " + std::to_string(bytes)});
      if (!right && damaged.empty()) damaged = (folder / file.file).string();
    }
  };
  add("train", manifest->train);
  add("validation", manifest->validation);
  table.print(out);
  out << '\n';
  files.print(out);
  if (!damaged.empty()) {
    throw base::Error(ErrorKind::data,
                      damaged + ": is missing or has another size than the manifest says");
  }
}

/// What a metrics file holds of one event.
struct EventSummary {
  std::string event;
  std::int64_t count = 0;
  JsonValue last;
};

void add_line(std::vector<EventSummary>& events, JsonValue line) {
  const JsonValue* event = line.find("event");
  const std::string name = event != nullptr ? event->text : "";
  auto found = std::find_if(events.begin(), events.end(),
                            [&](const EventSummary& summary) { return summary.event == name; });
  if (found == events.end()) found = events.insert(events.end(), {name, 0, {}});
  ++found->count;
  found->last = std::move(line);
}

void inspect_metrics(std::ostream& out, const fs::path& path) {
  std::ifstream in(path);
  if (!in) throw base::Error(ErrorKind::usage, path.string() + ": cannot be read");
  std::vector<EventSummary> events;
  std::string line;
  std::int64_t lines = 0;
  bool cut = false;
  while (std::getline(in, line)) {
    ++lines;
    try {
      add_line(events, base::parse_json_value(line, path.string() + ":" + std::to_string(lines),
                                              ErrorKind::usage));
    } catch (const base::Error&) {
      // Only the last line may be cut: the run was killed while it wrote or is writing now.
      if (in.peek() != std::ifstream::traits_type::eof()) throw;
      cut = true;
    }
  }
  out << path.string() << ": metrics, " << lines << " lines" << (cut ? ", the last one cut" : "")
      << "\n\n";
  Table table({"event", "lines", "last"}, {Align::left, Align::right, Align::left});
  for (const EventSummary& summary : events) {
    std::string last;
    for (const base::JsonMember& member : summary.last.members) {
      if (member.key == "event") continue;
      last += (last.empty() ? "" : "  ") + base::printable(member.key) + "=" +
              (member.value.type == JsonValue::Type::number ? number(member.value.number)
                                                            : to_text(member.value));
    }
    table.add({base::printable(summary.event), number(summary.count), base::printable(last, 300)});
  }
  table.print(out);
}

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

void inspect_folder(std::ostream& out, const fs::path& path) {
  if (fs::exists(path / checkpoint::kManifestName)) {
    return inspect_json(out, path / checkpoint::kManifestName);
  }
  if (fs::exists(checkpoint::checkpoints_folder(path))) return inspect_run(out, path);
  if (fs::exists(path / hf::kConfigFile)) {
    const JsonValue config = read_json(path / hf::kConfigFile);
    return is_hugging_face(config) ? inspect_hugging_face(out, path, config)
                                   : inspect_run(out, path);
  }
  if (fs::exists(path / "metrics.jsonl")) return inspect_run(out, path);
  throw base::Error(ErrorKind::usage,
                    path.string() +
                        ": expected manifest.json (a checkpoint, prepared data), checkpoints, "
                        "config.json or metrics.jsonl (a run, a Hugging Face model), found none "
                        "of them");
}

}  // namespace

void inspect(std::ostream& out, const fs::path& path, const std::string& tokenizer) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) {
    throw base::Error(ErrorKind::usage, path.string() + ": no such file or folder");
  }
  const std::string extension = path.extension().string();
  if (fs::is_directory(path, ignored)) return inspect_folder(out, path);
  if (extension == ".safetensors") return print_tensors(out, path);
  if (extension == ".bin") return inspect_shard(out, path, tokenizer);
  if (extension == ".jsonl") return inspect_metrics(out, path);
  if (extension == ".json") return inspect_json(out, path);
  throw base::Error(ErrorKind::usage, path.string() +
                                          ": expected a folder or a file .safetensors, .bin, "
                                          ".jsonl or .json, found " +
                                          (extension.empty() ? "no extension" : extension));
}

void add_inspect(CLI::App& app) {
  struct Options {
    std::string path;
    std::string tokenizer;
  };
  const auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("inspect", "Show what is in any file or folder that this program writes");
  command
      ->add_option("FILE_OR_DIR", options->path,
                   "A safetensors file, checkpoint, run, Hugging Face folder, token shard, "
                   "prepared data, metrics.jsonl or JSON file")
      ->required();
  command->add_option("--tokenizer", options->tokenizer,
                      "Show a shard's first tokens as text: \"bytes\", a file or a folder");
  command->callback([options] { inspect(std::cout, options->path, options->tokenizer); });
}

}  // namespace ssmax::app
