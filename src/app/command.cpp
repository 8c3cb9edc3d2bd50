#include "app/command.h"

#include "base/errors.h"

namespace ssmax::app {

std::vector<std::string> overrides_of(const CLI::App& command) {
  std::vector<std::string> overrides;
  for (const std::string& argument : command.remaining(true)) {
    if (argument.rfind("--", 0) != 0 || argument.find('=') == std::string::npos) {
      throw base::Error(base::ErrorKind::usage,
                        "unknown argument '" + argument +
                            "': expected an option of this command (see --help) or a config "
                            "override --section.key=value");
    }
    overrides.push_back(argument);
  }
  return overrides;
}

}  // namespace ssmax::app
