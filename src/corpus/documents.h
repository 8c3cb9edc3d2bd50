#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "corpus/byte_source.h"

namespace ssmax::corpus {

/// A text file is one document; a JSON Lines file (.jsonl) has one per line, {"text": "..."}.
/// Either may be packed: .gz, .zst; packed .json is JSON Lines too, as in public data sets.
enum class InputKind { text, json_lines };

struct Input {
  std::filesystem::path path;
  InputKind kind = InputKind::text;
  std::int64_t bytes = 0;
};

struct Inputs {
  std::vector<Input> files;
  std::int64_t bytes = 0;
  std::int64_t skipped = 0;  // binary files in folders
};

/// The files behind names of files, folders and globs, in the order given and sorted within each.
/// Of a folder: every regular file below it that is not hidden, not behind a link and, unpacked,
/// not binary (a NUL in its first 4 KiB). A file that is named twice counts once. Error(data) for a
/// name without files, or when all are empty.
Inputs find_inputs(std::span<const std::string> names);
/// Those of `files` that are among `others` too, also under another name.
std::vector<std::filesystem::path> shared_files(std::span<const std::filesystem::path> files,
                                                std::span<const std::filesystem::path> others);

/// Error(data) when a file is among both.
void require_apart(const Inputs& train, const Inputs& validation);

/// A part of an input that can be worked on alone: whole lines of a JSON Lines file, or a piece of
/// a document that is cut where no pre-token crosses.
struct Piece {
  const Input* input = nullptr;
  std::int64_t line = 1;        // of its first byte, in JSON Lines
  bool starts_document = true;  // of a text
  std::uint64_t document = 0;   // document_hash() of a text
  std::int64_t file_bytes = 0;  // of the file, packed as it is, read for this piece
  std::string bytes;
};

/// Reads inputs piece by piece, with memory for one piece or one line, whichever is longer.
class PieceReader {
 public:
  explicit PieceReader(std::span<const Input> inputs, std::int64_t piece_bytes = 1 << 20);

  /// Nothing at the end of the last input. Error(data) when a file cannot be read.
  std::optional<Piece> next();

 private:
  void read_block();
  std::size_t last_cut(std::size_t searched) const;

  std::span<const Input> inputs_;
  std::size_t piece_bytes_;
  std::size_t at_ = 0;                  // of the input that is open
  std::unique_ptr<ByteSource> source_;  // of the input that is open
  std::int64_t counted_ = 0;            // bytes of its file that are part of a piece
  std::string held_;                    // read, but not part of a piece yet
  bool ended_ = true;
  bool starts_document_ = true;
  std::int64_t line_ = 1;
  std::uint64_t document_ = 0;
};

/// What decides whether a document is for validation: XXH3-64 of its first 64 KiB, so that copies
/// of a document go the same way.
std::uint64_t document_hash(std::string_view text);

/// Calls visit(text, document_hash, starts_document) for each document, or part of one, of a piece.
/// Error(data) with file and line for a line that is not an object with the string "text".
void visit_documents(
    const Piece& piece,
    const std::function<void(std::string_view text, std::uint64_t hash, bool starts)>& visit);

/// Length of the longest prefix of `text` that ends where GPT-2's pattern always cuts: in front of
/// ASCII white space that follows a character that is none. 0 when there is no such place.
std::size_t last_safe_cut(std::string_view text);

}  // namespace ssmax::corpus
