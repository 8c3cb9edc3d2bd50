#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace ssmax::app {

struct OptionEntry {
  std::string name;  ///< "--out"; the name in capitals of what stands without a dash
  std::string help;
  bool takes_value = false;
  std::vector<std::string> values;  ///< when only these are allowed
};

/// A command, or the program itself with an empty path.
struct CommandEntry {
  std::string path;  ///< "/tokenizer/encode"
  std::string help;
  std::string footer;
  std::vector<std::string> subcommands;
  std::vector<OptionEntry> options;
  std::vector<OptionEntry> positionals;
  bool takes_overrides = false;  ///< --section.key=value
};

/// Every command of the program, as its help lists them; the program first.
std::vector<CommandEntry> list_commands(const CLI::App& program);

}  // namespace ssmax::app
