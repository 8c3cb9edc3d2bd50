#include "base/config.h"

#include <iostream>

#include "app/command.h"
#include "train/run_config.h"

namespace ssmax::app {

namespace {

struct ConfigOptions {
  bool schema = false;
  std::string explain;
};

void run_config(const CLI::App& command, const ConfigOptions& options) {
  if (options.schema) {
    std::cout << base::schema_text<train::RunConfig>();
  } else if (command.count("--explain") > 0) {
    std::cout << base::explain_text<train::RunConfig>(options.explain);
  } else {
    std::cout << base::config_text(train::RunConfig{}.resolved());
  }
}

}  // namespace

void add_config(CLI::App& program) {
  auto* command = program.add_subcommand("config", "Explain the keys of a config file");
  command->footer(
      "Without an option it prints the defaults.\n"
      "Example:  ssmax config --explain model.normalizer");
  auto options = std::make_shared<ConfigOptions>();
  command->add_flag("--schema", options->schema, "Print the JSON schema, for editors");
  command
      ->add_option("--explain", options->explain,
                   "Print keys, types, defaults and what they do; optionally only below KEY")
      ->expected(0, 1)
      ->type_name("[KEY]");
  command->callback([command, options] { run_config(*command, *options); });
}

}  // namespace ssmax::app
