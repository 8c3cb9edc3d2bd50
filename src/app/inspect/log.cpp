#include <fstream>
#include <ostream>
#include <span>
#include <vector>

#include "app/inspect/parts.h"
#include "base/errors.h"
#include "base/read_file.h"
#include "base/text.h"

namespace ssmax::app {

namespace fs = std::filesystem;

using base::ErrorKind;

void inspect_log(std::ostream& out, const fs::path& path) {
  std::ifstream in(path);
  if (!in) throw base::Error(ErrorKind::usage, path.string() + ": cannot be read");
  std::vector<std::string> told;  // 2026-11-26 09:56:30.733 W what is worth reading
  std::int64_t lines = 0;
  for (std::string line; std::getline(in, line); ++lines) {
    constexpr std::size_t kLevel = 24;
    const bool counts = line.size() > kLevel && (line[kLevel] == 'W' || line[kLevel] == 'E');
    if (counts) told.push_back(line);
  }
  out << path.string() << ": log, " << lines << " lines, " << told.size()
      << " of them warnings and errors\n";
  for (const std::string& line : told) out << base::printable(line, 1000) << '\n';
}

/// Records of length, its checksum, data and their checksum; see train/tensorboard.h.
void inspect_tensorboard(std::ostream& out, const fs::path& path) {
  const base::InputFile file(path, ErrorKind::usage);
  constexpr std::int64_t kAround = 16;
  std::int64_t events = 0;
  std::int64_t at = 0;
  while (at + kAround <= file.size()) {
    std::uint64_t length = 0;
    file.read(std::as_writable_bytes(std::span(&length, 1)), at);
    if (length > static_cast<std::uint64_t>(file.size() - at - kAround)) break;
    at += kAround + static_cast<std::int64_t>(length);
    ++events;
  }
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  out << path.string() << ": TensorBoard events, " << events << " of them"
      << (at < file.size() ? ", the last one cut" : "") << "; shown by tensorboard --logdir "
      << folder.string() << ", and the same numbers stand in metrics.jsonl\n";
}

}  // namespace ssmax::app
