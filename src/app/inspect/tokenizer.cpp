#include "corpus/tokenizer.h"

#include <ostream>
#include <vector>

#include "app/inspect/parts.h"
#include "app/table.h"
#include "base/text.h"

namespace ssmax::app {

void inspect_tokenizer(std::ostream& out, const std::filesystem::path& path) {
  const corpus::Tokenizer tokenizer = corpus::Tokenizer::load(path);
  out << path.string() << ": tokenizer, byte-level BPE, " << tokenizer.vocab_size()
      << " tokens in the vocabulary, " << tokenizer.vocabulary().merges.size()
      << " merges, end of text " << tokenizer.end_of_text() << ", hash " << tokenizer.hash()
      << "\n\n";
  // The tokens of single bytes say nothing.
  constexpr std::int64_t kShown = 10;
  std::vector<std::int64_t> ids;
  for (std::int64_t id = 0; id < tokenizer.vocab_size(); ++id) {
    if (tokenizer.token(id).size() > 1) ids.push_back(id);
  }
  if (std::ssize(ids) > 2 * kShown) ids.erase(ids.begin() + kShown, ids.end() - kShown);
  Table table({"id", "token"}, {Align::right, Align::left});
  for (const std::int64_t id : ids) {
    table.add({number_text(id), base::in_quotes(tokenizer.token(id))});
  }
  table.print(out);
}

}  // namespace ssmax::app
