#pragma once

#include <memory>
#include <string_view>

namespace ssmax::corpus {

/// Cuts text into the pre-tokens of GPT-2 (Radford et al., "Language models are unsupervised
/// multitask learners", 2019): contractions, runs of letters, of digits and of other characters,
/// each with one space in front, and runs of white space. Merges never cross a cut.
///
/// Text that is not UTF-8 loses nothing: a run of invalid bytes is one pre-token, and the text
/// on either side of it is cut as if it stood alone.
class Splitter {
 public:
  Splitter();
  ~Splitter();
  Splitter(Splitter&&) noexcept;

  /// Calls visit(std::string_view) for each pre-token; together they are `text`.
  template <class Visit>
  void split(std::string_view text, Visit&& visit) {
    while (!text.empty()) {
      const Part part = front(text);
      std::string_view rest = text.substr(0, part.bytes);
      while (!rest.empty()) {
        const std::size_t bytes = part.valid ? match(rest) : rest.size();
        visit(rest.substr(0, bytes));
        rest.remove_prefix(bytes);
      }
      text.remove_prefix(part.bytes);
    }
  }

 private:
  struct Part {
    bool valid;
    std::size_t bytes;
  };
  struct Regex;

  static Part front(std::string_view text);
  std::size_t match(std::string_view text);

  std::unique_ptr<Regex> regex_;
};

/// White space as the split pattern sees it: Unicode's property White_Space.
bool is_white_space(char32_t code_point);

}  // namespace ssmax::corpus
