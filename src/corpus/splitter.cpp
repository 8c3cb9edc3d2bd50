#include "corpus/splitter.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <string>

#include "base/errors.h"
#include "base/utf8.h"

namespace ssmax::corpus {

namespace {

// White_Space is spelled out, because PCRE2's own \s differs from it by U+180E and, without UCP,
// by everything beyond ASCII. Possessive repeats match the same text and never backtrack.
constexpr char kSpace[] =
    "\\x09-\\x0d\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"
    "\\x{205f}\\x{3000}";

std::string pattern() {
  const std::string space = kSpace;
  return "'(?:[sdmt]|ll|ve|re)| ?\\p{L}++| ?\\p{N}++| ?[^\\p{L}\\p{N}" + space + "]++|[" + space +
         "]+(?![^" + space + "])|[" + space + "]++";
}

/// The compiled pattern; immutable, so all splitters of all threads share one.
struct Code {
  pcre2_code* code = nullptr;

  Code() {
    const std::string text = pattern();
    int error = 0;
    PCRE2_SIZE offset = 0;
    code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                         PCRE2_UTF | PCRE2_ANCHORED, &error, &offset, nullptr);
    if (code == nullptr) {
      throw base::Error(base::ErrorKind::usage,
                        "this PCRE2 cannot compile the split pattern (error " +
                            std::to_string(error) + " at " + std::to_string(offset) +
                            "); it needs Unicode support");
    }
    // Without JIT, as where memory must not be executable, pcre2_match interprets the pattern.
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
  }
  ~Code() { pcre2_code_free(code); }
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;
};

const pcre2_code* compiled() {
  static const Code instance;
  return instance.code;
}

}  // namespace

struct Splitter::Regex {
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);

  Regex() = default;
  ~Regex() { pcre2_match_data_free(data); }
  Regex(const Regex&) = delete;
  Regex& operator=(const Regex&) = delete;
};

Splitter::Splitter() : regex_(std::make_unique<Regex>()) {}
Splitter::~Splitter() = default;
Splitter::Splitter(Splitter&&) noexcept = default;

Splitter::Part Splitter::front(std::string_view text) {
  const std::size_t valid = std::min(base::find_invalid_utf8(text), text.size());
  if (valid > 0) return {true, valid};
  std::size_t invalid = 0;
  while (invalid < text.size() &&
         base::read_utf8(text.substr(invalid, 4)).kind != base::Utf8Kind::character) {
    ++invalid;
  }
  return {false, invalid};
}

std::size_t Splitter::match(std::string_view text) {
  // The pattern matches at every position, so the match is always at offset 0.
  const int count = pcre2_match(compiled(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                                0, PCRE2_NO_UTF_CHECK, regex_->data, nullptr);
  const PCRE2_SIZE* range = pcre2_get_ovector_pointer(regex_->data);
  if (count < 1 || range[0] != 0 || range[1] == 0) {
    throw base::Error(base::ErrorKind::data,
                      "PCRE2 failed to split a text (error " + std::to_string(count) + ")");
  }
  return range[1];
}

bool is_white_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

}  // namespace ssmax::corpus
