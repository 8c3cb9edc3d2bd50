#include "checkpoint/hugging_face/folder.h"

#include <array>
#include <cstdio>
#include <set>

#include "base/durable_file.h"
#include "base/errors.h"
#include "base/read_file.h"
#include "base/strict_json.h"
#include "base/text.h"

namespace ssmax::checkpoint::hugging_face {
namespace {

namespace fs = std::filesystem;
using base::JsonValue;
using device::Bf16;

constexpr std::int64_t kLargestIndex = std::int64_t{64} << 20;

[[noreturn]] void fail(const std::string& reason) {
  throw base::Error(base::ErrorKind::checkpoint, reason);
}

/// Consecutive tensors of each file.
std::vector<std::vector<const LazyTensor*>> divide(const std::vector<LazyTensor>& tensors,
                                                   std::int64_t file_bytes) {
  std::vector<std::vector<const LazyTensor*>> files(1);
  std::int64_t bytes = 0;
  for (const LazyTensor& tensor : tensors) {
    if (bytes > 0 && bytes + tensor.bytes() > file_bytes) {
      files.emplace_back();
      bytes = 0;
    }
    files.back().push_back(&tensor);
    bytes += tensor.bytes();
  }
  return files;
}

/// The data of one file's tensors.
class Staging {
 public:
  NamedTensor add(const LazyTensor& tensor) {
    const auto count = static_cast<std::size_t>(tensor.bytes() / size_of(tensor.dtype));
    const device::Shape shape(tensor.shape);
    std::vector<float>& wide = wide_.emplace_back(count);
    tensor.fill(wide);
    if (tensor.dtype == FileDType::f32) return {tensor.name, device::view(wide.data(), shape)};
    std::vector<Bf16>& narrow = narrow_.emplace_back(count);
    for (std::size_t i = 0; i < count; ++i) narrow[i] = Bf16(wide[i]);
    wide_.pop_back();
    return {tensor.name, device::view(narrow.data(), shape)};
  }

 private:
  std::vector<std::vector<float>> wide_;
  std::vector<std::vector<Bf16>> narrow_;
};

std::string file_name(std::size_t index, std::size_t count) {
  if (count == 1) return kSingleFile;
  std::array<char, 64> name{};
  std::snprintf(name.data(), name.size(), "model-%05zu-of-%05zu.safetensors", index + 1, count);
  return name.data();
}

/// {"metadata": {"total_size": bytes of data}, "weight_map": {tensor: file}}
void write_index(const fs::path& folder, const std::vector<LazyTensor>& tensors,
                 const std::map<std::string, std::string>& places) {
  std::int64_t bytes = 0;
  JsonValue map = JsonValue::object();
  for (const auto& [name, file] : places) map.add(name, JsonValue::of(file));
  for (const LazyTensor& tensor : tensors) bytes += tensor.bytes();
  JsonValue metadata = JsonValue::object();
  metadata.add("total_size", JsonValue::of(bytes));
  JsonValue root = JsonValue::object();
  root.add("metadata", std::move(metadata));
  root.add("weight_map", std::move(map));
  base::write_file_atomically(folder / kIndexFile, base::to_text(root, 2) + "\n");
}

}  // namespace

std::int64_t LazyTensor::bytes() const {
  std::int64_t count = size_of(dtype);
  for (const std::int64_t extent : shape) count *= extent;
  return count;
}

std::map<std::string, std::string> parse_index(std::string_view text, std::string_view source) {
  const JsonValue root = base::parse_json_value(text, source, base::ErrorKind::checkpoint);
  const JsonValue* map = root.type == JsonValue::Type::object ? root.find("weight_map") : nullptr;
  if (map == nullptr || map->type != JsonValue::Type::object) {
    fail(base::located(source, root.line, "weight_map",
                       "expected an object of tensors and files, found " +
                           describe(map == nullptr ? root : *map)));
  }
  std::map<std::string, std::string> files;
  for (const base::JsonMember& member : map->members) {
    const std::string& file = member.value.text;
    const bool plain = member.value.type == JsonValue::Type::string &&
                       file.ends_with(".safetensors") &&
                       file.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
    if (!plain) {
      fail(base::located(source, member.line, "weight_map." + base::printable(member.key),
                         "expected the name of a .safetensors file of this folder, found " +
                             describe(member.value)));
    }
    files[member.key] = file;
  }
  if (files.empty()) fail(base::located(source, map->line, "weight_map", "names no tensor"));
  return files;
}

WeightFolder::WeightFolder(const fs::path& folder) : folder_(folder) {
  std::error_code ignored;
  if (fs::exists(folder / kIndexFile, ignored)) {
    open_indexed();
    return;
  }
  if (!fs::exists(folder / kSingleFile, ignored)) {
    fail(folder.string() + ": expected " + kSingleFile + " or " + kIndexFile +
         "; a model in another format (pytorch_model.bin) must be saved as safetensors first");
  }
  files_.emplace_back(folder / kSingleFile);
  for (const TensorInfo& tensor : files_.front().tensors()) file_of_[tensor.name] = 0;
}

void WeightFolder::open_indexed() {
  const fs::path path = folder_ / kIndexFile;
  const auto places = parse_index(
      base::read_text_file(path, base::ErrorKind::checkpoint, kLargestIndex), path.string());
  std::map<std::string, std::size_t> opened;
  for (const auto& [tensor, file] : places) {
    if (opened.emplace(file, files_.size()).second) files_.emplace_back(folder_ / file);
  }
  for (const auto& [file, index] : opened) {
    for (const TensorInfo& tensor : files_[index].tensors()) {
      const auto place = places.find(tensor.name);
      if (place == places.end() || place->second != file) {
        fail((folder_ / file).string() + ": holds the tensor " + base::in_quotes(tensor.name) +
             ", which " + kIndexFile +
             (place == places.end() ? " does not name" : " places in " + place->second));
      }
      file_of_[tensor.name] = index;
    }
  }
  for (const auto& [tensor, file] : places) {
    if (!file_of_.contains(tensor)) {
      fail(path.string() + ": names the tensor " + base::in_quotes(tensor) + ", which " + file +
           " does not hold");
    }
  }
}

std::vector<fs::path> WeightFolder::files() const {
  std::vector<fs::path> paths;
  for (const SafetensorsFile& file : files_) paths.push_back(file.path());
  return paths;
}

std::vector<const TensorInfo*> WeightFolder::tensors() const {
  std::vector<const TensorInfo*> all;
  for (const SafetensorsFile& file : files_) {
    for (const TensorInfo& tensor : file.tensors()) all.push_back(&tensor);
  }
  return all;
}

const TensorInfo* WeightFolder::find(std::string_view name) const {
  const auto found = file_of_.find(name);
  return found == file_of_.end() ? nullptr : files_[found->second].find(name);
}

void WeightFolder::read_converted(std::string_view name, const device::Tensor& destination) const {
  const auto found = file_of_.find(name);
  if (found == file_of_.end()) {
    fail(folder_.string() + ": has no tensor " + base::in_quotes(name));
  }
  files_[found->second].read_converted(name, destination);
}

std::vector<WrittenFile> write_weights(const fs::path& folder,
                                       const std::vector<LazyTensor>& tensors,
                                       std::int64_t file_bytes, const WeightProgress& progress) {
  std::int64_t total = 0;
  for (const LazyTensor& tensor : tensors) total += tensor.bytes();
  const auto files = divide(tensors, file_bytes);
  std::vector<WrittenFile> written;
  std::map<std::string, std::string> places;
  std::int64_t done = 0;
  for (std::size_t i = 0; i < files.size(); ++i) {
    const std::string name = file_name(i, files.size());
    Staging staging;
    std::vector<NamedTensor> named;
    for (const LazyTensor* tensor : files[i]) {
      named.push_back(staging.add(*tensor));
      places[tensor->name] = name;
      done += tensor->bytes();
      if (progress) progress(done, total);
    }
    // transformers refuses files that do not say whose tensors they hold.
    written.push_back(write_safetensors(folder / name, named, {{"format", "pt"}}));
  }
  if (files.size() > 1) write_index(folder, tensors, places);
  return written;
}

}  // namespace ssmax::checkpoint::hugging_face
