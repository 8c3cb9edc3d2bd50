#include "base/log.h"

#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/dist_sink.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "base/errors.h"
#include "base/progress.h"

namespace ssmax::base {
namespace {

/// stderr, below whatever progress line stood there.
class StderrSink : public spdlog::sinks::base_sink<std::mutex> {
 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t text;
    formatter_->format(message, text);
    clear_progress_line();
    std::fwrite(text.data(), 1, text.size(), stderr);
  }
  void flush_() override { std::fflush(stderr); }
};

struct Log {
  Log() {
    auto console = std::make_shared<StderrSink>();
    console->set_pattern("%H:%M:%S %L %v");
    sinks->add_sink(std::move(console));
    logger.flush_on(spdlog::level::info);
    // The library would print to stderr; the message itself is there already.
    logger.set_error_handler([](const std::string&) {});
  }

  std::shared_ptr<spdlog::sinks::dist_sink_mt> sinks =
      std::make_shared<spdlog::sinks::dist_sink_mt>();
  spdlog::logger logger{"ssmax", sinks};
  std::shared_ptr<spdlog::sinks::sink> file;
  std::string prefix;  // set before there are threads
};

Log& the_log() {
  static Log log;
  return log;
}

spdlog::level::level_enum spdlog_level(LogLevel level) {
  switch (level) {
    case LogLevel::info:
      return spdlog::level::info;
    case LogLevel::warning:
      return spdlog::level::warn;
    case LogLevel::error:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

}  // namespace

void set_log_prefix(std::string_view prefix) { the_log().prefix = prefix; }

void log(LogLevel level, std::string_view message) {
  Log& log = the_log();
  const std::string text = log.prefix + std::string(message);
  log.logger.log(spdlog_level(level), spdlog::string_view_t(text.data(), text.size()));
}

void log_to_file(LogLevel level, std::string_view message) {
  const Log& log = the_log();
  if (!log.file) return;
  log.file->log({log.logger.name(), spdlog_level(level),
                 spdlog::string_view_t(message.data(), message.size())});
  log.file->flush();
}

LogFile::LogFile(const std::filesystem::path& path) {
  Log& log = the_log();
  try {
    auto file = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path.string());
    file->set_pattern("%Y-%m-%d %H:%M:%S.%e %L %v");
    log.sinks->add_sink(file);
    log.file = std::move(file);
  } catch (const spdlog::spdlog_ex& error) {
    throw Error(ErrorKind::disk, "cannot open the log " + path.string() + ": " + error.what());
  }
}

LogFile::~LogFile() {
  Log& log = the_log();
  if (log.file) log.sinks->remove_sink(std::exchange(log.file, nullptr));
}

}  // namespace ssmax::base
