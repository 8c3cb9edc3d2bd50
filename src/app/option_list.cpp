#include "app/option_list.h"

#include "base/text.h"

namespace ssmax::app {

namespace {

/// CLI11 shows the members of a set as "TEXT:{a,b}".
std::vector<std::string> values_of(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const std::size_t begin = type.find('{');
  const std::size_t end = type.find('}');
  if (begin == std::string::npos || end == std::string::npos || end < begin) return {};
  return base::split(type.substr(begin + 1, end - begin - 1), ',');
}

OptionEntry entry_of(const CLI::Option& option) {
  OptionEntry entry;
  const bool positional = option.get_lnames().empty() && option.get_snames().empty();
  entry.name = positional                    ? option.get_name(true, false)
               : option.get_lnames().empty() ? "-" + option.get_snames().front()
                                             : "--" + option.get_lnames().front();
  entry.help = option.get_description();
  entry.takes_value = option.get_items_expected_max() > 0;
  entry.values = values_of(option);
  return entry;
}

void list(const CLI::App& command, const std::string& path, std::vector<CommandEntry>& all) {
  CommandEntry entry;
  entry.path = path;
  entry.help = command.get_description();
  entry.footer = command.get_footer();
  entry.takes_overrides = command.get_allow_extras();
  for (const CLI::Option* option : command.get_options()) {
    const bool positional = option->get_positional();
    (positional ? entry.positionals : entry.options).push_back(entry_of(*option));
  }
  for (const CLI::App* inner : command.get_subcommands({})) {
    entry.subcommands.push_back(inner->get_name());
  }
  all.push_back(std::move(entry));
  for (const CLI::App* inner : command.get_subcommands({})) {
    list(*inner, std::string(path).append("/").append(inner->get_name()), all);
  }
}

}  // namespace

std::vector<CommandEntry> list_commands(const CLI::App& program) {
  std::vector<CommandEntry> all;
  list(program, "", all);
  return all;
}

}  // namespace ssmax::app
