#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/errors.h"
#include "corpus/loader.h"
#include "corpus/manifest.h"
#include "corpus/shard.h"
#include "fuzz/driver.h"

namespace ssmax::fuzz {
namespace {

std::string shard_text(std::int32_t magic, std::int32_t version, std::int32_t count,
                       std::int64_t payload_bytes) {
  std::int32_t header[256] = {magic, version, count};
  std::string text(sizeof header, '\0');
  std::memcpy(text.data(), header, sizeof header);
  for (std::int64_t i = 0; i < payload_bytes; ++i) text.push_back(static_cast<char>(i % 3));
  return text;
}

/// A folder of this process, for the files that the room reads by name.
const std::filesystem::path& folder() {
  static const struct Folder {
    std::filesystem::path path =
        std::filesystem::temp_directory_path() / ("ssmax_shard_fuzz_" + std::to_string(::getpid()));
    Folder() { std::filesystem::create_directories(path); }
    ~Folder() { std::filesystem::remove_all(path); }
  } folder;
  return folder.path;
}

template <class Work>
bool succeeds(const Work& work) {
  try {
    work();
    return true;
  } catch (const base::Error& error) {
    if (error.kind() != base::ErrorKind::data) finding("an error of another kind");
    if (std::strchr(error.what(), '\n') != nullptr) finding("a message of several lines");
    return false;
  }
}

constexpr std::int64_t kVocabulary = 50257;

void check_shard(const std::filesystem::path& path) {
  std::int64_t tokens = 0;
  const bool opened = succeeds([&] {
    const corpus::Shard shard(path);
    tokens = shard.tokens();
    if (shard.bytes() != static_cast<std::int64_t>(std::filesystem::file_size(path))) {
      finding("a size that the file does not have");
    }
    std::vector<std::int32_t> ids(static_cast<std::size_t>(tokens));
    shard.read(ids, 0, kVocabulary);
    for (const std::int32_t id : ids) {
      if (id < 0 || id >= kVocabulary) finding("an id outside of the vocabulary");
    }
  });
  corpus::LoaderOptions options;
  options.files = {path.string()};
  options.sequence_length = 4;
  options.batch_sequences = 2;
  options.vocab_size = kVocabulary;
  options.document_mask = true;
  options.end_of_text = 1;
  const bool loaded = succeeds([&] {
    corpus::Loader loader(options);
    for (int i = 0; i < 3; ++i) loader.next();
  });
  if (opened && tokens > 8 && !loaded) finding("a good shard that cannot be loaded");
}

void write(const std::filesystem::path& path, const std::uint8_t* data, std::size_t size) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
}

}  // namespace

std::vector<std::string> seeds() {
  return {shard_text(20240520, 1, 20, 40), shard_text(20240801, 7, 20, 80),
          shard_text(20240520, 1, 0, 0), shard_text(20240520, 1, 4, 6),
          R"({"format": "ssmax token shards", "version": 1,
 "tokenizer": {"name": "bytes", "hash": "00", "vocab_size": 257, "end_of_text": 256},
 "train": {"documents": 1, "tokens": 2, "text_bytes": 1, "files":
   [{"file": "train_000000.bin", "tokens": 2, "bytes": 1028, "xxh3_128": "00"}]},
 "validation": {"documents": 0, "tokens": 0, "text_bytes": 0, "files": []},
 "skipped_files": 0})"};
}

}  // namespace ssmax::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ssmax;
  fuzz::write(fuzz::folder() / "a.bin", data, size);
  fuzz::check_shard(fuzz::folder() / "a.bin");
  // Beside the shard it would have a say in whether that is a good one.
  const std::filesystem::path alone = fuzz::folder() / "manifest";
  std::filesystem::create_directories(alone);
  fuzz::write(alone / corpus::kManifestName, data, size);
  fuzz::succeeds([&] { corpus::read_manifest(alone); });
  return 0;
}
