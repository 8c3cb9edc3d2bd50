#include <iostream>

#include "app/command.h"
#include "app/exit_code.h"
#include "app/option_list.h"
#include "base/version.h"

namespace ssmax::app {

namespace {

/// Text for roff: dashes that may be searched for, no line that starts a request.
std::string roff(const std::string& text) {
  std::string result;
  bool line_start = true;
  for (const char c : text) {
    if (line_start && (c == '.' || c == '\'')) result += "\\&";
    if (c == '\\') {
      result += "\\e";
    } else if (c == '-') {
      result += "\\-";
    } else {
      result += c;
    }
    line_start = c == '\n';
  }
  return result;
}

void print_verbatim(const std::string& text) {
  if (!text.empty()) std::cout << ".PP\n.nf\n" << roff(text) << "\n.fi\n";
}

void print_options(const std::vector<OptionEntry>& options, bool positional) {
  for (const OptionEntry& option : options) {
    std::cout << ".TP\n.B " << roff(option.name);
    if (option.takes_value && !positional) {
      std::string values;
      for (const std::string& value : option.values) {
        values.append(values.empty() ? "" : "|").append(value);
      }
      std::cout << " " << (values.empty() ? "\\fIVALUE\\fR" : roff(values));
    }
    std::cout << '\n' << roff(option.help) << '\n';
  }
}

void print_man(const CLI::App& program) {
  std::cout << ".TH SSMAX 1 \"\" \"ssmax " << base::kVersion << "\" \"User Commands\"\n"
            << ".SH NAME\nssmax \\- trains GPTs whose attention normalizer can be swapped\n"
            << ".SH SYNOPSIS\n.B ssmax\n\\fICOMMAND\\fR [\\fIARGUMENTS\\fR]\n"
            << ".SH DESCRIPTION\n";
  for (const CommandEntry& command : list_commands(program)) {
    if (command.path.empty()) {
      print_verbatim(command.help);
      print_options(command.options, false);
      std::cout << ".SH COMMANDS\n";
      continue;
    }
    std::string name = "ssmax" + command.path;
    for (char& c : name) c = c == '/' ? ' ' : c;
    std::cout << ".SS " << roff(name) << '\n' << roff(command.help) << ".\n";
    print_options(command.positionals, true);
    print_options(command.options, false);
    print_verbatim(command.footer);
  }
  std::cout << ".SH EXIT STATUS\n"
            << exit_codes_text()
            << ".\n"
               ".SH FILES\n"
               "A run's folder holds config.json, metrics.jsonl, TensorBoard events, log.txt and "
               "checkpoints/step_N/.\n";
}

}  // namespace

void add_man(CLI::App& program) {
  auto* command = program.add_subcommand("man", "Print the manual page");
  command->footer("Packages install it. By hand:  ssmax man > ssmax.1 && man ./ssmax.1");
  command->callback([&program] { print_man(program); });
}

}  // namespace ssmax::app
