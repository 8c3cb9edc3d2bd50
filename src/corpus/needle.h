#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/field.h"
#include "corpus/tokenizer.h"

namespace ssmax::corpus {

/// The fact that is hidden in a long text: "The special magic CITY number is: NUMBER." with seven
/// digits (Nakanishi 2025, section 3.3).
struct Needle {
  std::string city;
  std::int64_t number = 0;

  std::string digits() const { return std::to_string(number); }
  /// What a model that found it goes on with: " NUMBER.".
  std::string answer() const { return std::string(1, ' ').append(digits()).append("."); }
};

/// Training and test share neither a city nor a number.
enum class NeedleSplit : std::uint8_t { train, test };
constexpr auto enum_names(NeedleSplit) {
  return std::to_array<base::EnumName<NeedleSplit>>(
      {{NeedleSplit::train, "train"}, {NeedleSplit::test, "test"}});
}
std::span<const std::string_view> needle_cities(NeedleSplit split);
NeedleSplit split_of_number(std::int64_t number);

/// City and number as a pure function of its arguments.
Needle random_needle(NeedleSplit split, std::uint64_t seed, std::uint64_t index);

/// Depth of a needle, uniform in [0, 1), as a pure function of its arguments.
double random_depth(std::uint64_t seed, std::uint64_t index);

/// Half-open range of tokens.
struct TokenSpan {
  std::size_t begin = 0;
  std::size_t end = 0;
};

/// A text with a needle and the question for it behind.
struct NeedlePrompt {
  std::vector<std::int32_t> tokens;  // the end of text first
  TokenSpan needle;                  // the whole sentence
  TokenSpan digits;                  // of the number within it
};

/// Puts needles into texts.
class NeedleWriter {
 public:
  explicit NeedleWriter(const Tokenizer& tokenizer);

  /// Tokens of a prompt without any text around the needle.
  std::int64_t own_tokens(const Needle& needle) const;

  /// `haystack` cut to what a prompt of `tokens` tokens has room for, with the needle at `depth`
  /// (0 the beginning, 1 the end) or at the end of a sentence, or of a word, up to 48 tokens and an
  /// eighth of the text before. Error(usage) when there is no room for the needle and the question,
  /// Error(data) when the haystack is short.
  NeedlePrompt write(std::span<const std::int32_t> haystack, const Needle& needle, double depth,
                     std::int64_t tokens) const;

 private:
  struct Parts {
    std::vector<std::int32_t> sentence, question;
    TokenSpan digits;  // within the sentence
  };
  Parts parts_of(const Needle& needle) const;

  Tokenizer tokenizer_;
};

}  // namespace ssmax::corpus
