#include <iostream>
#include <set>
#include <sstream>

#include "app/choice.h"
#include "app/command.h"
#include "app/option_list.h"
#include "base/config.h"
#include "train/run_config.h"

namespace ssmax::app {

namespace {

enum class Shell : std::uint8_t { bash, zsh };
constexpr auto kShells =
    std::to_array<base::EnumName<Shell>>({{Shell::bash, "bash"}, {Shell::zsh, "zsh"}});

/// "--model.hidden_size=" of every key, for the commands that take overrides.
std::vector<std::string> override_words() {
  std::vector<std::string> words;
  std::set<std::string> seen;
  std::istringstream lines(base::explain_text<train::RunConfig>());
  for (std::string line; std::getline(lines, line);) {
    std::string word = std::string("--").append(line.substr(0, line.find(' '))).append("=");
    if (seen.insert(word).second) words.push_back(std::move(word));
  }
  return words;
}

/// In single quotes of a shell.
std::string quoted(const std::string& text) {
  std::string result = "'";
  for (const char c : text) result += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return result + "'";
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text.append(text.empty() ? "" : " ").append(word);
  return text;
}

/// A case that follows the words of the command line from command to command; `word` and `path` are
/// variables of the script.
void print_walk(const std::vector<CommandEntry>& commands) {
  std::cout << "    case \"$path/$word\" in\n";
  for (const CommandEntry& command : commands) {
    if (!command.path.empty()) {
      std::cout << "      " << command.path << ") path=" << command.path << " ;;\n";
    }
  }
  std::cout << "    esac\n";
}

void print_bash(const std::vector<CommandEntry>& commands) {
  std::cout << "# bash completion of ssmax, made by `ssmax completion bash`\n"
               "_ssmax() {\n"
               "  local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n"
               "  local path= word words=\n"
               "  for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n";
  print_walk(commands);
  std::cout << "  done\n"
               "  case \"$path $before\" in\n";
  for (const CommandEntry& command : commands) {
    for (const OptionEntry& option : command.options) {
      if (!option.values.empty()) {
        std::cout << "    '" << command.path << ' ' << option.name << "') words='"
                  << joined(option.values) << "' ;;\n";
      } else if (option.takes_value) {
        // Most values are files.
        std::cout << "    '" << command.path << ' ' << option.name
                  << "') COMPREPLY=($(compgen -f -- \"$current\")); return ;;\n";
      }
    }
  }
  std::cout << "    *) case \"$path\" in\n";
  for (const CommandEntry& command : commands) {
    std::vector<std::string> words = command.subcommands;
    for (const OptionEntry& option : command.options) words.push_back(option.name);
    std::cout << "      '" << command.path << "') words='" << joined(words)
              << (command.takes_overrides ? " '\"$_ssmax_keys\"" : "'") << " ;;\n";
  }
  std::cout << "    esac ;;\n"
               "  esac\n"
               "  COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
               "  [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace\n"
               "  # What is no word of ours may be a file.\n"
               "  [[ ${#COMPREPLY[@]} != 0 ]] || COMPREPLY=($(compgen -f -- \"$current\"))\n"
               "}\n"
               "_ssmax_keys='"
            << joined(override_words())
            << "'\n"
               "complete -o filenames -F _ssmax ssmax\n";
}

void print_zsh_list(const char* name,
                    const std::vector<std::pair<std::string, std::string>>& items) {
  std::cout << "      " << name << "=(";
  for (const auto& [word, help] : items) {
    std::cout << "\n        " << quoted(word + ":" + help.substr(0, help.find('\n')));
  }
  std::cout << ")\n";
}

void print_zsh(const std::vector<CommandEntry>& commands) {
  std::cout << "#compdef ssmax\n"
               "# zsh completion of ssmax, made by `ssmax completion zsh`\n"
               "_ssmax() {\n"
               "  local path= word before=${words[CURRENT-1]}\n"
               "  local -a commands options values keys\n"
               "  for word in ${words[2,CURRENT-1]}; do\n";
  print_walk(commands);
  std::cout << "  done\n"
               "  case \"$path\" in\n";
  for (const CommandEntry& command : commands) {
    std::cout << "    '" << command.path << "')\n";
    std::vector<std::pair<std::string, std::string>> items;
    for (const CommandEntry& other : commands) {
      if (!other.path.empty() && other.path.substr(0, other.path.rfind('/')) == command.path) {
        items.emplace_back(other.path.substr(other.path.rfind('/') + 1), other.help);
      }
    }
    print_zsh_list("commands", items);
    items.clear();
    for (const OptionEntry& option : command.options) items.emplace_back(option.name, option.help);
    print_zsh_list("options", items);
    if (command.takes_overrides) std::cout << "      keys=($_ssmax_keys)\n";
    std::cout << "      ;;\n";
  }
  std::cout << "  esac\n"
               "  case \"$path $before\" in\n";
  for (const CommandEntry& command : commands) {
    for (const OptionEntry& option : command.options) {
      if (option.values.empty()) continue;
      std::cout << "    '" << command.path << ' ' << option.name << "') values=("
                << joined(option.values) << "); compadd -a values; return ;;\n";
    }
  }
  std::cout << "  esac\n"
               "  (( ${#commands} )) && _describe -t commands command commands\n"
               "  (( ${#options} )) && _describe -o -t options option options\n"
               "  (( ${#keys} )) && [[ ${words[CURRENT]} == --?* ]] && compadd -S '' -a keys\n"
               "  _files\n"
               "}\n"
               "typeset -ga _ssmax_keys=("
            << joined(override_words())
            << ")\n"
               "_ssmax \"$@\"\n";
}

}  // namespace

void add_completion(CLI::App& program) {
  auto* command =
      program.add_subcommand("completion", "Print the completion of commands for a shell");
  command->footer(
      "Packages install both. By hand:\n"
      "  ssmax completion bash > ~/.local/share/bash-completion/completions/ssmax\n"
      "  ssmax completion zsh > ~/.zfunc/_ssmax      with ~/.zfunc in fpath");
  auto shell = std::make_shared<Shell>(Shell::bash);
  add_choice(*command, "SHELL", *shell, kShells, "The shell to print it for")
      ->required()
      ->default_str("");
  command->callback([&program, shell] {
    const std::vector<CommandEntry> commands = list_commands(program);
    *shell == Shell::bash ? print_bash(commands) : print_zsh(commands);
  });
}

}  // namespace ssmax::app
