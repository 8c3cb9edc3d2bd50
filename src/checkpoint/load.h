#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/manifest.h"
#include "checkpoint/safetensors.h"

namespace ssmax::checkpoint {

/// Whether the hashes of all files are computed: of several ranks one does it for all, and whoever
/// wants the config alone, which the manifest's own hash covers, need not.
enum class Verify : std::uint8_t { hashes, nothing };

/// A complete checkpoint: its manifest parses and every file has the size and hash it says.
/// A tensor that several ranks wrote in fragments is one tensor here.
class LoadedCheckpoint {
 public:
  /// Reads and verifies a checkpoint's folder. Error(checkpoint) with file and reason.
  explicit LoadedCheckpoint(const std::filesystem::path& folder, Verify verify = Verify::hashes);

  const Manifest& manifest() const { return manifest_; }
  const std::filesystem::path& folder() const { return folder_; }
  /// One line for each newer checkpoint that was passed over, with file and reason.
  const std::vector<std::string>& warnings() const { return warnings_; }

  /// Of all files, in the order of the manifest and of their data; begin and end of one in
  /// fragments are as if it were alone in a file.
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  /// nullptr when there is none.
  const TensorInfo* find(std::string_view name) const;

  /// See SafetensorsFile::read and read_converted.
  void read(std::string_view name, const device::Tensor& destination) const;
  void read_converted(std::string_view name, const device::Tensor& destination) const;
  /// Elements of `name` from `first` on, as many as `destination`, of one axis, has; converted.
  void read_elements(std::string_view name, std::int64_t first,
                     const device::Tensor& destination) const;

 private:
  friend std::optional<LoadedCheckpoint> load_newest(
      const std::filesystem::path& run_folder, Verify verify,
      const std::function<bool(const Manifest&)>& wanted);

  /// Elements [first, first + tensor.elements()) are `tensor` of a file.
  struct Place {
    std::size_t file = 0;
    std::int64_t first = 0;
    TensorInfo tensor;
  };
  struct Logical {
    std::size_t index = 0;  // in tensors_
    std::vector<Place> places;
  };

  void open_file(const std::filesystem::path& path);
  void check_coverage() const;
  const Logical& get(std::string_view name) const;
  void check_shape(std::string_view name, const device::Tensor& destination) const;

  std::filesystem::path folder_;
  Manifest manifest_;
  std::vector<std::string> warnings_;
  std::vector<SafetensorsFile> files_;
  std::vector<TensorInfo> tensors_;
  std::map<std::string, Logical, std::less<>> logical_;
};

/// The newest valid checkpoint of a run; those that are damaged are passed over with a warning.
/// Nothing when the run has no step folders. Error(checkpoint) when it has some and none is valid:
/// never a fresh start that nobody asked for. Of those that are `wanted`, where that is given;
/// nothing when valid ones are there and none is.
std::optional<LoadedCheckpoint> load_newest(
    const std::filesystem::path& run_folder, Verify verify = Verify::hashes,
    const std::function<bool(const Manifest&)>& wanted = {});

/// The checkpoint that a user names: a checkpoint's folder, which must be valid, or a run's folder,
/// for its newest valid one. Error(checkpoint) when there is none.
LoadedCheckpoint load(const std::filesystem::path& path, Verify verify = Verify::hashes);

/// Compares the files of a manifest with a folder: one line per size or hash that differs.
std::vector<std::string> verify_files(const Manifest& manifest,
                                      const std::filesystem::path& folder);

}  // namespace ssmax::checkpoint
