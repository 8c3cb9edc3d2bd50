#include "corpus/documents.h"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>
#include <set>

#include "base/errors.h"
#include "base/json_lines.h"
#include "base/utf8.h"
#include "corpus/shard.h"
#include "corpus/splitter.h"

namespace ssmax::corpus {

namespace {

using base::Error;
using base::ErrorKind;
using std::filesystem::path;

constexpr std::size_t kHashedBytes = 64 << 10;

[[noreturn]] void fail(const path& file, const std::string& message) {
  throw Error(ErrorKind::data, file.string() + ": " + message);
}

bool is_binary(const path& file) {
  std::array<char, 4096> block{};
  const std::size_t size = open_source(file)->read(block);
  return std::memchr(block.data(), 0, size) != nullptr;
}

InputKind kind_of(const path& file) {
  const bool packed = packing_of(file) != Packing::none;
  const path inner = packed ? file.stem() : file;
  const bool lines = inner.extension() == ".jsonl" || (packed && inner.extension() == ".json");
  return lines ? InputKind::json_lines : InputKind::text;
}

void add_file(Inputs& inputs, const path& file) {
  std::error_code error;
  const auto bytes = static_cast<std::int64_t>(std::filesystem::file_size(file, error));
  if (error) fail(file, "cannot read its size: " + error.message());
  inputs.files.push_back({file, kind_of(file), bytes});
  inputs.bytes += bytes;
}

void add_folder(Inputs& inputs, const path& folder) {
  const auto hidden = [](const path& entry) { return entry.filename().string().starts_with('.'); };
  std::vector<path> files;
  std::filesystem::recursive_directory_iterator walk(folder);
  for (const auto& entry : walk) {
    if (hidden(entry.path()) && entry.is_directory()) walk.disable_recursion_pending();
    if (hidden(entry.path()) || entry.is_symlink() || !entry.is_regular_file()) continue;
    files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  for (const path& file : files) {
    if (is_binary(file)) {
      ++inputs.skipped;
    } else {
      add_file(inputs, file);
    }
  }
}

/// Whoever names a folder and a file of it, or finds one behind two links, means its text once.
void drop_repeats(Inputs& inputs) {
  std::set<path> seen;
  std::erase_if(inputs.files, [&](const Input& input) {
    return !seen.insert(weakly_canonical(input.path)).second;
  });
  inputs.bytes = 0;
  for (const Input& input : inputs.files) inputs.bytes += input.bytes;
}

std::vector<path> paths_of(const Inputs& inputs) {
  std::vector<path> paths;
  for (const Input& input : inputs.files) paths.push_back(input.path);
  return paths;
}

}  // namespace

Inputs find_inputs(std::span<const std::string> names) {
  Inputs inputs;
  for (const std::string& name : names) {
    std::vector<path> found = {name};
    if (!std::filesystem::exists(name)) found = expand_globs({name});
    for (const path& entry : found) {
      if (std::filesystem::is_directory(entry)) {
        const std::size_t before = inputs.files.size();
        add_folder(inputs, entry);
        if (inputs.files.size() == before) fail(entry, "there is no text file in this folder");
      } else {
        add_file(inputs, entry);
      }
    }
  }
  if (inputs.files.empty()) throw Error(ErrorKind::usage, "name at least one input");
  if (inputs.bytes == 0) fail(inputs.files.front().path, "the inputs are empty");
  drop_repeats(inputs);
  return inputs;
}

std::vector<path> shared_files(std::span<const path> files, std::span<const path> others) {
  std::set<path> identities;
  for (const path& other : others) identities.insert(weakly_canonical(other));
  std::vector<path> shared;
  std::ranges::copy_if(files, std::back_inserter(shared), [&](const path& file) {
    return identities.contains(weakly_canonical(file));
  });
  return shared;
}

void require_apart(const Inputs& train, const Inputs& validation) {
  const std::vector<path> both = shared_files(paths_of(validation), paths_of(train));
  if (both.empty()) return;
  fail(both.front(),
       "is among the texts for training and among those for validation; name it once, or let the "
       "validation fraction choose");
}

PieceReader::PieceReader(std::span<const Input> inputs, std::int64_t piece_bytes)
    : inputs_(inputs), piece_bytes_(static_cast<std::size_t>(piece_bytes)) {}

void PieceReader::read_block() {
  const std::size_t before = held_.size();
  held_.resize(before + piece_bytes_);
  const std::size_t count = source_->read(std::span(held_).subspan(before));
  held_.resize(before + count);
  ended_ = count < piece_bytes_;
}

std::size_t PieceReader::last_cut(std::size_t searched) const {
  // A character and a little more before what is new, so that long lines are searched once.
  const std::size_t from = searched - std::min<std::size_t>(searched, 8);
  const std::string_view fresh = std::string_view(held_).substr(from);
  const std::size_t cut =
      inputs_[at_].kind == InputKind::json_lines ? fresh.rfind('\n') + 1 : last_safe_cut(fresh);
  return cut == 0 ? 0 : from + cut;
}

std::optional<Piece> PieceReader::next() {
  while (true) {
    if (ended_ && held_.empty()) {
      // Between inputs; the very first comes here too.
      if (source_ != nullptr) {
        source_.reset();
        ++at_;
      }
      if (at_ == inputs_.size()) return std::nullopt;
      source_ = open_source(inputs_[at_].path);
      counted_ = 0;
      ended_ = false;
      starts_document_ = true;
      line_ = 1;
    }
    const Input& input = inputs_[at_];
    const std::size_t searched = held_.size();
    if (!ended_) read_block();
    // What comes after the last cut waits for the next block; without a cut, all of it does.
    const std::size_t cut = ended_ ? held_.size() : last_cut(searched);
    if (cut == 0) continue;
    if (starts_document_) document_ = document_hash(held_);
    Piece piece;
    piece.input = &input;
    piece.line = line_;
    piece.starts_document = starts_document_;
    piece.document = document_;
    piece.file_bytes = source_->consumed() - counted_;
    counted_ = source_->consumed();
    piece.bytes.assign(held_, 0, cut);
    held_.erase(0, cut);
    if (input.kind == InputKind::json_lines) {
      line_ += std::count(piece.bytes.begin(), piece.bytes.end(), '\n');
    }
    starts_document_ = false;
    return piece;
  }
}

std::uint64_t document_hash(std::string_view text) {
  const std::string_view front = text.substr(0, kHashedBytes);
  return XXH3_64bits(front.data(), front.size());
}

void visit_documents(
    const Piece& piece,
    const std::function<void(std::string_view text, std::uint64_t hash, bool starts)>& visit) {
  if (piece.input->kind == InputKind::text) {
    visit(piece.bytes, piece.document, piece.starts_document);
    return;
  }
  std::int64_t number = piece.line - 1;
  std::string_view rest = piece.bytes;
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string file = piece.input->path.string();
    const base::JsonValue value = base::parse_json_line(line, file, number, ErrorKind::data);
    const std::string& text = base::string_member(value, "text", file, number, ErrorKind::data);
    if (!text.empty()) visit(text, document_hash(text), true);
  }
}

std::size_t last_safe_cut(std::string_view text) {
  constexpr std::string_view kSpaces = " \t\n\r\v\f";
  for (std::size_t at = text.find_last_of(kSpaces); at != std::string_view::npos && at > 0;
       at = text.find_last_of(kSpaces, at - 1)) {
    // The character before begins at most 4 bytes back. Where none ends here the byte is invalid,
    // and invalid bytes stand alone.
    bool space = false;
    for (std::size_t length = 1; length <= std::min<std::size_t>(4, at); ++length) {
      const base::Utf8 before = base::read_utf8(text.substr(at - length, length));
      if (before.kind == base::Utf8Kind::character && before.length == static_cast<int>(length)) {
        space = is_white_space(before.code_point);
        break;
      }
    }
    if (!space) return at;
  }
  return 0;
}

}  // namespace ssmax::corpus
