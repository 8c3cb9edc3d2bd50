#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/version.h"
#include "checkpoint/safetensors.h"

namespace ssmax::checkpoint {

inline constexpr std::int64_t kManifestFormat = 1;
inline constexpr char kManifestName[] = "manifest.json";

/// manifest.json of a checkpoint: written last, so that its presence means that all is there.
struct Manifest {
  std::int64_t format = kManifestFormat;
  std::string program_version = base::kVersion;
  std::string git_hash = base::kGitHash;
  std::int64_t step = 0;    ///< optimizer steps done
  std::int64_t tokens = 0;  ///< tokens trained on
  std::int64_t epoch = 0;
  std::int64_t global_sample_index = 0;  ///< sequences taken, over all ranks
  std::int64_t seed = 0;
  std::string data_fingerprint;
  std::int64_t world_size = 1;
  std::string config;  ///< the resolved config: text of a JSON object, or empty
  /// The window that decides whether a loss or a gradient norm is a spike; oldest first, finite.
  std::vector<double> recent_losses;
  std::vector<double> recent_norms;
  /// Anything else that a resume needs.
  std::map<std::string, std::int64_t> state;
  std::vector<WrittenFile> files;

  /// A value of `state`; Error(checkpoint) naming the key when it is absent.
  std::int64_t integer(const std::string& key) const;
  /// The same; `absent` when there is none.
  std::int64_t integer(const std::string& key, std::int64_t absent) const;
};

/// JSON text whose last member is the hash of the text, so that no flipped bit goes unseen.
std::string to_text(const Manifest& manifest);

/// Strict: unknown, missing and duplicate keys, other types, another format, a hash that does not
/// agree, file names that leave the folder. Error(checkpoint), one line, `source` first.
Manifest parse_manifest(std::string_view text, std::string_view source);
Manifest read_manifest(const std::filesystem::path& path);

}  // namespace ssmax::checkpoint
