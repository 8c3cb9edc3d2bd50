#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "checkpoint/safetensors.h"

/// The weights of a Hugging Face folder: model.safetensors, or several files and
/// model.safetensors.index.json with {"metadata": {"total_size": N}, "weight_map": {NAME: FILE}}.
namespace ssmax::checkpoint::hugging_face {

inline constexpr char kSingleFile[] = "model.safetensors";
inline constexpr char kIndexFile[] = "model.safetensors.index.json";

/// A folder's weights, opened and checked: every tensor of the index is in the file that it names
/// and nowhere else, and no file holds more. Error(checkpoint).
class WeightFolder {
 public:
  explicit WeightFolder(const std::filesystem::path& folder);

  const std::filesystem::path& path() const { return folder_; }
  std::vector<std::filesystem::path> files() const;
  std::vector<const TensorInfo*> tensors() const;
  const TensorInfo* find(std::string_view name) const;  ///< nullptr when there is none
  /// See SafetensorsFile::read_converted.
  void read_converted(std::string_view name, const device::Tensor& destination) const;

 private:
  void open_indexed();

  std::filesystem::path folder_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, std::size_t, std::less<>> file_of_;
};

/// The names of an index: tensor to file. Error(checkpoint) for what is no such index or names a
/// file outside of the folder. Separate for fuzzing.
std::map<std::string, std::string> parse_index(std::string_view text, std::string_view source);

/// A tensor to be written once its data is asked for.
struct LazyTensor {
  std::string name;
  std::vector<std::int64_t> shape;
  FileDType dtype = FileDType::f32;  ///< f32 or bf16
  std::function<void(std::span<float>)> fill;

  std::int64_t bytes() const;
};

/// Told the bytes written so far and in all.
using WeightProgress = std::function<void(std::int64_t done, std::int64_t total)>;

/// Writes the tensors in their order, as one file or as several of at most `file_bytes` (a longer
/// tensor has a file of its own). Holds one file's tensors in memory at a time.
std::vector<WrittenFile> write_weights(const std::filesystem::path& folder,
                                       const std::vector<LazyTensor>& tensors,
                                       std::int64_t file_bytes, const WeightProgress& progress);

}  // namespace ssmax::checkpoint::hugging_face
