#include <algorithm>
#include <fstream>
#include <ostream>
#include <vector>

#include "app/inspect/parts.h"
#include "app/table.h"
#include "base/errors.h"
#include "base/strict_json.h"
#include "base/text.h"

namespace ssmax::app {

namespace fs = std::filesystem;

using base::ErrorKind;
using base::JsonValue;

namespace {

/// What a metrics file holds of one event.
struct EventSummary {
  std::string event;
  std::int64_t count = 0;
  JsonValue last;
};

void add_line(std::vector<EventSummary>& events, JsonValue line) {
  const JsonValue* event = line.find("event");
  const std::string name = event != nullptr ? event->text : "";
  auto found = std::find_if(events.begin(), events.end(),
                            [&](const EventSummary& summary) { return summary.event == name; });
  if (found == events.end()) found = events.insert(events.end(), {name, 0, {}});
  ++found->count;
  found->last = std::move(line);
}

}  // namespace

void inspect_metrics(std::ostream& out, const fs::path& path) {
  std::ifstream in(path);
  if (!in) throw base::Error(ErrorKind::usage, path.string() + ": cannot be read");
  std::vector<EventSummary> events;
  std::string line;
  std::int64_t lines = 0;
  bool cut = false;
  while (std::getline(in, line)) {
    ++lines;
    try {
      add_line(events, base::parse_json_value(line, path.string() + ":" + std::to_string(lines),
                                              ErrorKind::usage));
    } catch (const base::Error&) {
      // Only the last line may be cut: the run was killed while it wrote or is writing now.
      if (in.peek() != std::ifstream::traits_type::eof()) throw;
      cut = true;
    }
  }
  out << path.string() << ": metrics, " << lines << " lines" << (cut ? ", the last one cut" : "")
      << "\n\n";
  Table table({"event", "lines", "last"}, {Align::left, Align::right, Align::left});
  for (const EventSummary& summary : events) {
    std::string last;
    for (const base::JsonMember& member : summary.last.members) {
      if (member.key == "event") continue;
      last += (last.empty() ? "" : "  ") + base::printable(member.key) + "=" +
              (member.value.type == JsonValue::Type::number ? number_text(member.value.number)
                                                            : to_text(member.value));
    }
    table.add(
        {base::printable(summary.event), number_text(summary.count), base::printable(last, 300)});
  }
  table.print(out);
}

}  // namespace ssmax::app
