#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace ssmax::corpus {

/// manifest.json of a prepared folder.
struct ManifestFile {
  std::string file;  // name within the folder
  std::int64_t tokens = 0;
  std::int64_t bytes = 0;
  std::string xxh3_128;  // of the whole file, 32 hexadecimal digits
};

/// The end-of-text token of a document is one of its tokens and none of its bytes.
struct ManifestSplit {
  std::int64_t documents = 0;
  std::int64_t tokens = 0;
  std::int64_t text_bytes = 0;
  std::vector<ManifestFile> files;
};

struct Manifest {
  std::string tokenizer_name;
  std::string tokenizer_hash;  // Tokenizer::hash()
  std::int64_t vocab_size = 0;
  std::int64_t end_of_text = 0;
  ManifestSplit train, validation;
  std::int64_t skipped_files = 0;  // binary files found in folders
};

inline constexpr char kManifestName[] = "manifest.json";

/// Writes folder/manifest.json durably.
void write_manifest(const std::filesystem::path& folder, const Manifest& manifest);

/// Nothing when the folder has no manifest; Error(data) when it has a damaged one.
std::optional<Manifest> read_manifest(const std::filesystem::path& folder);

}  // namespace ssmax::corpus
