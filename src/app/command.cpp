#include "app/command.h"

#include <array>
#include <cstdio>
#include <functional>

#include "base/durable_file.h"
#include "base/errors.h"
#include "base/threads.h"

namespace ssmax::app {

namespace {

/// Sums of a few such numbers still fit 64 bits.
constexpr double kTooLarge = 0x1p62;

/// `name` stands in the help: INT:POSITIVE.
CLI::Validator number_check(const std::string& name, const std::string& expected,
                            const std::function<bool(double)>& holds) {
  return CLI::Validator(
      [expected, holds](const std::string& text) {
        double number = 0.0;
        const bool is_number = CLI::detail::lexical_cast(text, number);
        if (is_number && number >= kTooLarge) return "is too large: found " + text;
        if (is_number && holds(number)) return std::string();
        return expected + ", found " + text;
      },
      name);
}

std::string number_text(double number) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.10g", number);
  return text.data();
}

}  // namespace

void make_folder_of(const std::filesystem::path& file) {
  if (file.has_parent_path()) base::create_folders(file.parent_path());
}

CLI::Validator positive_number() {
  return number_check("POSITIVE", "must be above 0", [](double number) { return number > 0.0; });
}

CLI::Validator non_negative_number() {
  return number_check("NONNEGATIVE", "must be at least 0",
                      [](double number) { return number >= 0.0; });
}

CLI::Validator number_between(double least, double most) {
  const std::string range = number_text(least) + " to " + number_text(most);
  return number_check(range, "must be " + range,
                      [least, most](double number) { return number >= least && number <= most; });
}

CLI::Validator thread_number() { return number_between(0, base::kMostThreads); }

std::vector<std::string> overrides_of(const CLI::App& command) {
  std::vector<std::string> overrides;
  for (const std::string& argument : command.remaining(true)) {
    const bool is_option = argument.starts_with("--");
    if (!is_option || argument.find('=') == std::string::npos) {
      const bool is_key = is_option && argument.find('.') != std::string::npos;
      throw base::Error(base::ErrorKind::usage,
                        "unknown argument '" + argument +
                            "': expected an option of this command (see --help) or a config "
                            "override --section.key=value" +
                            (is_key ? ", here " + argument + "=VALUE" : ""));
    }
    overrides.push_back(argument);
  }
  return overrides;
}

}  // namespace ssmax::app
