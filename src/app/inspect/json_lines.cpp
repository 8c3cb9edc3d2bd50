#include "base/json_lines.h"

#include <algorithm>
#include <fstream>
#include <ostream>
#include <vector>

#include "app/inspect/parts.h"
#include "app/table.h"
#include "base/errors.h"
#include "base/text.h"

namespace ssmax::app {

namespace {

/// What a file with such lines is for.
std::string purpose_of(const base::JsonValue& line) {
  const auto has = [&](const char* key) { return line.find(key) != nullptr; };
  if (has("prompt") && has("completion")) return ", examples for data.kind=supervised";
  if (has("text")) return ", documents for ssmax prepare";
  return "";
}

/// What the lines hold under a key.
struct KeySummary {
  std::string key;
  std::int64_t lines = 0;
  std::string first;
};

void add_line(std::vector<KeySummary>& keys, const base::JsonValue& line) {
  for (const base::JsonMember& member : line.members) {
    auto found = std::ranges::find(keys, member.key, &KeySummary::key);
    if (found == keys.end()) {
      found = keys.insert(keys.end(), {member.key, 0, base::printable(to_text(member.value), 300)});
    }
    ++found->lines;
  }
}

}  // namespace

void inspect_json_lines(std::ostream& out, const std::filesystem::path& path) {
  std::ifstream in(path);
  if (!in) throw base::Error(base::ErrorKind::usage, path.string() + ": cannot be read");
  std::vector<KeySummary> keys;
  std::int64_t lines = 0;
  std::string purpose;
  std::string text;
  base::Progress progress = reading(path);
  for (std::int64_t number = 1; std::getline(in, text); ++number) {
    progress.advance(std::ssize(text) + 1);
    if (text.empty()) continue;
    const base::JsonValue line =
        base::parse_json_line(text, path.string(), number, base::ErrorKind::usage);
    if (++lines == 1) purpose = purpose_of(line);
    add_line(keys, line);
  }
  progress.finish();
  out << path.string() << ": JSON Lines, " << lines << " lines" << purpose << "\n\n";
  Table table({"key", "lines", "first"}, {Align::left, Align::right, Align::left});
  for (const KeySummary& summary : keys) {
    table.add({base::printable(summary.key), number_text(summary.lines), summary.first});
  }
  table.print(out);
}

}  // namespace ssmax::app
