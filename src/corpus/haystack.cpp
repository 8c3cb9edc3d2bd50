#include "corpus/haystack.h"

#include <algorithm>

#include "base/errors.h"
#include "base/random.h"
#include "corpus/documents.h"

namespace ssmax::corpus {

namespace {

constexpr std::uint64_t kDocumentStream = base::random_stream("haystack document");
constexpr std::uint64_t kPlaceStream = base::random_stream("haystack place");

bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

}  // namespace

bool starts_word(const Tokenizer& tokenizer, std::span<const std::int32_t> tokens, std::size_t at) {
  if (at == 0) return true;
  const std::string_view here = tokenizer.token(tokens[at]);
  return !here.empty() && is_space(here.front());
}

bool starts_sentence(const Tokenizer& tokenizer, std::span<const std::int32_t> tokens,
                     std::size_t at) {
  if (at == 0) return true;
  if (!starts_word(tokenizer, tokens, at)) return false;
  std::string_view before = tokenizer.token(tokens[at - 1]);
  const auto ends_with_quote = [](std::string_view text) {
    return !text.empty() && (text.back() == '"' || text.back() == '\'' || text.back() == ')');
  };
  if (ends_with_quote(before)) before.remove_suffix(1);
  if (before.empty() && at > 1) before = tokenizer.token(tokens[at - 2]);
  return !before.empty() && std::string_view(".!?").find(before.back()) != std::string_view::npos;
}

Haystack::Haystack(std::span<const std::string> names, const Tokenizer& tokenizer,
                   std::int64_t max_tokens,
                   const std::function<void(std::int64_t, std::int64_t)>& progress)
    : tokenizer_(tokenizer) {
  const Inputs inputs = find_inputs(names);
  PieceReader reader(inputs.files);
  Encoder encoder(tokenizer);
  std::int64_t done = 0;
  while (tokens() < max_tokens) {
    const auto piece = reader.next();
    if (!piece) break;
    visit_documents(*piece, [&](std::string_view text, std::uint64_t /*hash*/, bool starts) {
      if (tokens() >= max_tokens) return;
      if (starts) begins_.push_back(tokens());
      encoder.encode(ids_, text);
    });
    done += piece->file_bytes;
    if (progress) progress(done, inputs.bytes);
  }
  begins_.push_back(tokens());
}

std::vector<std::int32_t> Haystack::slice(std::int64_t count, std::uint64_t seed,
                                          std::uint64_t index) const {
  if (count > tokens()) {
    throw base::Error(base::ErrorKind::data,
                      "the haystack's documents have " + std::to_string(tokens()) +
                          " tokens together, a text of " + std::to_string(count) +
                          " was asked for; name more of them");
  }
  std::vector<std::size_t> long_enough;
  for (std::size_t d = 0; d + 1 < begins_.size(); ++d) {
    if (begins_[d + 1] - begins_[d] >= count) long_enough.push_back(d);
  }
  std::int64_t first = 0;
  std::int64_t last = tokens() - count;
  if (!long_enough.empty()) {
    const std::size_t d =
        long_enough[base::random_bits(seed, kDocumentStream, index) % long_enough.size()];
    first = begins_[d];
    last = begins_[d + 1] - count;
  }
  const double draw = base::random_uniform(seed, kPlaceStream, index);
  std::int64_t begin = first + static_cast<std::int64_t>(draw * static_cast<double>(last - first));
  const std::span document = std::span(ids_).subspan(static_cast<std::size_t>(first));
  while (begin > first &&
         !starts_sentence(tokenizer_, document, static_cast<std::size_t>(begin - first))) {
    --begin;
  }
  const auto from = ids_.begin() + begin;
  return {from, from + count};
}

}  // namespace ssmax::corpus
