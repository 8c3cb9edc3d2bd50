#include "comm/agreement.h"

#include <algorithm>
#include <string>

#include "base/text.h"

namespace ssmax::comm {

void share_failure(Communicator& ranks, const std::optional<base::Error>& mine) {
  if (ranks.size() == 1) {
    if (mine) throw *mine;
    return;
  }
  // The kind as one character, then the message; empty when all is well.
  const std::string text =
      mine ? static_cast<char>('a' + static_cast<int>(mine->kind())) + std::string(mine->what())
           : "";
  const std::vector<std::string> all = ranks.gather_texts(text);
  const auto first = std::ranges::find_if(all, [](const std::string& t) { return !t.empty(); });
  if (first == all.end()) return;
  const auto kind = static_cast<base::ErrorKind>(first->front() - 'a');
  const bool alike = std::ranges::all_of(all, [&](const std::string& t) { return t == *first; });
  const std::string message = first->substr(1);
  const int rank = static_cast<int>(first - all.begin());
  throw SharedError(kind, alike ? message : ranks.rank_text(rank) + ": " + message);
}

void require_same(Communicator& ranks, const std::string& what, const std::string& value) {
  const std::vector<std::string> all = ranks.gather_texts(value);
  for (int rank = 1; rank < ranks.size(); ++rank) {
    const std::string& other = all[static_cast<std::size_t>(rank)];
    if (other == all[0]) continue;
    throw SharedError(base::ErrorKind::usage,
                      what + " must be the same on all ranks: " + ranks.rank_text(0) + " has " +
                          base::printable(all[0], 200) + ", " + ranks.rank_text(rank) + " has " +
                          base::printable(other, 200));
  }
}

}  // namespace ssmax::comm
