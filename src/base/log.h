#pragma once

#include <filesystem>
#include <string_view>

/// Messages for people: on stderr and, once a run has a folder, in its `log.txt`. From any thread.
/// A message clears a progress line that stands on the terminal.
namespace ssmax::base {

enum class LogLevel { info, warning, error };

/// Stands in front of every message, such as "rank 3: "; empty at the start.
void set_log_prefix(std::string_view prefix);

void log(LogLevel level, std::string_view message);
inline void log_info(std::string_view message) { log(LogLevel::info, message); }
inline void log_warning(std::string_view message) { log(LogLevel::warning, message); }
inline void log_error(std::string_view message) { log(LogLevel::error, message); }

/// Into the log file alone, where one is open: what ends a run, which the program itself prints.
void log_to_file(LogLevel level, std::string_view message);

/// While it lives, messages go to the end of `path` too. A disk that is full loses lines of the
/// file, never the run. Throws Error(disk) when the file cannot be opened.
class LogFile {
 public:
  explicit LogFile(const std::filesystem::path& path);
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;
  ~LogFile();
};

}  // namespace ssmax::base
