#include "corpus/prepare.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <memory>
#include <optional>

#include "base/errors.h"
#include "base/partial_folder.h"
#include "corpus/documents.h"
#include "corpus/ordered_parallel.h"
#include "corpus/shard_writer.h"

namespace ssmax::corpus {

namespace {

using base::Error;
using base::ErrorKind;
using std::filesystem::path;

/// What one piece of input became.
struct Encoded {
  struct Part {
    std::vector<std::int32_t> tokens;
    std::int64_t documents = 0;
    std::int64_t text_bytes = 0;
  };
  std::array<Part, 2> parts;  // for training, for validation
  std::int64_t input_bytes = 0;
};

/// The shards of one split, each with `shard_tokens` tokens but the last.
class SplitWriter {
 public:
  SplitWriter(const path& folder, const std::string& prefix, TokenType type,
              std::int64_t shard_tokens)
      : folder_(folder), prefix_(prefix), type_(type), shard_tokens_(shard_tokens) {}

  void append(const Encoded::Part& part) {
    split_.documents += part.documents;
    split_.text_bytes += part.text_bytes;
    split_.tokens += std::ssize(part.tokens);
    std::span<const std::int32_t> tokens = part.tokens;
    while (!tokens.empty()) {
      if (!writer_) writer_ = std::make_unique<ShardWriter>(next_path(), type_);
      const auto room = static_cast<std::size_t>(shard_tokens_ - writer_->tokens());
      const auto head = tokens.first(std::min(room, tokens.size()));
      writer_->append(head);
      tokens = tokens.subspan(head.size());
      if (writer_->tokens() == shard_tokens_) close();
    }
  }

  ManifestSplit finish() {
    if (writer_) close();
    return std::move(split_);
  }

 private:
  path next_path() const {
    std::array<char, 32> number{};
    std::snprintf(number.data(), number.size(), "_%06zu.bin", split_.files.size());
    return folder_ / (prefix_ + number.data());
  }
  void close() {
    split_.files.push_back(writer_->finish());
    writer_.reset();
  }

  path folder_;
  std::string prefix_;
  TokenType type_;
  std::int64_t shard_tokens_;
  std::unique_ptr<ShardWriter> writer_;
  ManifestSplit split_;
};

void check(const PrepareOptions& options) {
  if (!(options.validation_fraction >= 0.0 && options.validation_fraction < 1.0)) {
    throw Error(ErrorKind::usage, "the validation fraction must be at least 0 and below 1, found " +
                                      std::to_string(options.validation_fraction));
  }
  if (options.validation_fraction > 0.0 && !options.validation.empty()) {
    throw Error(ErrorKind::usage, "give a validation fraction or validation inputs, not both");
  }
  if (options.shard_tokens < 1) {
    throw Error(ErrorKind::usage, "a shard must have at least 1 token, found " +
                                      std::to_string(options.shard_tokens));
  }
  if (options.out.empty()) throw Error(ErrorKind::usage, "name the folder to write");
  base::require_absent_or_empty(options.out);
}

/// True for the share `fraction` of all hashes.
bool is_chosen(std::uint64_t hash, double fraction) {
  return static_cast<double>(hash >> 11) * 0x1.0p-53 < fraction;
}

/// Encodes the pieces of `inputs` and appends them to the two splits.
class Encoding {
 public:
  Encoding(const Tokenizer& tokenizer, double validation_fraction, SplitWriter& train,
           SplitWriter& validation)
      : tokenizer_(tokenizer),
        fraction_(validation_fraction),
        train_(train),
        validation_(validation) {}

  void run(const Inputs& inputs, int threads, const std::function<void(std::int64_t)>& done) {
    PieceReader reader(inputs.files);
    ordered_parallel(
        threads, [&] { return reader.next(); },
        [&] {
          return [this, encoder = Encoder(tokenizer_)](const Piece& piece) mutable {
            return encode(encoder, piece);
          };
        },
        [&](const Encoded& encoded) {
          train_.append(encoded.parts[0]);
          validation_.append(encoded.parts[1]);
          done(encoded.input_bytes);
        });
  }

 private:
  Encoded encode(Encoder& encoder, const Piece& piece) const {
    Encoded encoded;
    encoded.input_bytes = piece.file_bytes;
    visit_documents(piece, [&](std::string_view text, std::uint64_t hash, bool starts) {
      Encoded::Part& part = encoded.parts[is_chosen(hash, fraction_) ? 1 : 0];
      if (starts) {
        part.tokens.push_back(tokenizer_.end_of_text());
        ++part.documents;
      }
      part.text_bytes += std::ssize(text);
      encoder.encode(part.tokens, text);
    });
    return encoded;
  }

  const Tokenizer& tokenizer_;
  double fraction_;
  SplitWriter& train_;
  SplitWriter& validation_;
};

}  // namespace

Manifest prepare(const Tokenizer& tokenizer, const PrepareOptions& options,
                 const PrepareProgress& progress) {
  check(options);
  const Inputs inputs = find_inputs(options.inputs);
  const Inputs validation_inputs =
      options.validation.empty() ? Inputs{} : find_inputs(options.validation);
  require_apart(inputs, validation_inputs);
  const int threads = thread_count(options.threads);

  base::PartialFolder folder(options.out);
  const TokenType type = token_type_for(tokenizer.vocab_size());
  SplitWriter train(folder.path(), "train", type, options.shard_tokens);
  SplitWriter validation(folder.path(), "val", type, options.shard_tokens);
  std::int64_t done = 0;
  const std::int64_t total = inputs.bytes + validation_inputs.bytes;
  const auto advance = [&](std::int64_t bytes) {
    done += bytes;
    if (progress) progress(done, total);
  };
  Encoding(tokenizer, options.validation_fraction, train, validation).run(inputs, threads, advance);
  // Validation inputs as a whole: both destinations are the same.
  Encoding(tokenizer, 0.0, validation, validation).run(validation_inputs, threads, advance);

  Manifest manifest;
  manifest.tokenizer_name = tokenizer.name();
  manifest.tokenizer_hash = tokenizer.hash();
  manifest.vocab_size = tokenizer.vocab_size();
  manifest.end_of_text = tokenizer.end_of_text();
  manifest.skipped_files = inputs.skipped + validation_inputs.skipped;
  manifest.train = train.finish();
  manifest.validation = validation.finish();
  if (manifest.train.tokens == 0) {
    throw Error(ErrorKind::data, inputs.files.front().path.string() +
                                     ": no text for training is left; add documents or make the "
                                     "validation fraction smaller");
  }
  tokenizer.write_json(folder.path() / "tokenizer.json");
  write_manifest(folder.path(), manifest);
  folder.commit();
  return manifest;
}

}  // namespace ssmax::corpus
