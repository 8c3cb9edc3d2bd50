#include <algorithm>
#include <limits>
#include <optional>
#include <ostream>
#include <vector>

#include "app/inspect/parts.h"
#include "app/table.h"
#include "base/errors.h"
#include "base/format.h"
#include "base/text.h"
#include "corpus/manifest.h"
#include "corpus/shard.h"
#include "corpus/tokenizer.h"

namespace ssmax::app {

namespace fs = std::filesystem;

using base::ErrorKind;

namespace {

constexpr std::int64_t kChunkTokens = std::int64_t{1} << 16;
constexpr std::int64_t kFirstTokens = 32;

void print_tokens(std::ostream& out, const std::vector<std::int32_t>& ids,
                  const std::string& tokenizer) {
  std::string line = "first tokens:";
  for (const std::int32_t id : ids) line += ' ' + std::to_string(id);
  out << line << '\n';
  if (tokenizer.empty()) return;
  const corpus::Tokenizer named = corpus::Tokenizer::named(tokenizer);
  out << "as text: " << base::in_quotes(named.decode(ids), 1000) << '\n';
}

}  // namespace

void inspect_shard(std::ostream& out, const fs::path& path, const std::string& tokenizer) {
  const corpus::Shard shard(path);
  out << path.string() << ": token shard, "
      << (shard.type() == corpus::TokenType::uint16 ? "uint16" : "uint32") << ", " << shard.tokens()
      << " tokens, " << base::format_bytes(shard.bytes()) << '\n';
  constexpr std::int64_t kAnyId = std::numeric_limits<std::int32_t>::max();
  std::vector<std::int32_t> ids(static_cast<std::size_t>(std::min(shard.tokens(), kChunkTokens)));
  std::int32_t greatest = 0;
  base::Progress progress = reading(path);
  for (std::int64_t first = 0; first < shard.tokens(); first += kChunkTokens) {
    const auto part = std::span(ids).first(
        static_cast<std::size_t>(std::min(kChunkTokens, shard.tokens() - first)));
    shard.read(part, first, kAnyId);
    progress.advance(std::ssize(part) * token_bytes(shard.type()));
    greatest = std::max(greatest, *std::max_element(part.begin(), part.end()));
  }
  progress.finish();
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
    table.add({name, number_text(split.documents), number_text(split.tokens),
               number_text(split.text_bytes), number_text(ratio)});
    for (const corpus::ManifestFile& file : split.files) {
      std::error_code error;
      const auto bytes = fs::file_size(folder / file.file, error);
      const bool right = !error && static_cast<std::int64_t>(bytes) == file.bytes;
      files.add({file.file, name, number_text(file.tokens), number_text(file.bytes),
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

}  // namespace ssmax::app
