#include <csignal>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <iostream>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "app/command.h"
#include "app/exit_code.h"
#include "base/errors.h"
#include "base/text.h"
#include "base/version.h"

namespace {

using namespace ssmax;

const char kDescription[] =
    "ssmax trains, resumes, evaluates and samples a GPT whose attention normalizer is a part you\n"
    "can swap: Softmax, Scalable-Softmax (SSMax), Self-Adjust Softmax and others.\n"
    "\n"
    "Start with:  ssmax prepare text.txt --tokenizer bytes --out data/mine\n"
    "             ssmax train configs/quickstart/ssmax.json --data.validation= --out runs/mine \\\n"
    "                 '--data.train=data/mine/train_*.bin'\n"
    "             ssmax normalizers\n"
    "Then:        ssmax COMMAND --help  explains a command\n"
    "             ssmax config --explain  explains every key of a config\n";

void add_commands(CLI::App& program) {
  app::add_train(program);
  app::add_swap(program);
  app::add_evaluate(program);
  app::add_generate(program);
  app::add_export(program);
  app::add_import(program);
  app::add_tokenizer(program);
  app::add_prepare(program);
  app::add_prepare_needle(program);
  app::add_inspect(program);
  app::add_normalizers(program);
  app::add_config(program);
  app::add_bench(program);
  app::add_completion(program);
  app::add_man(program);
}

/// CLI11 alone would only say that a subcommand is missing.
void check_command(const CLI::App& program, int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') return;
  std::vector<std::string_view> names;
  for (const CLI::App* command : program.get_subcommands({})) {
    names.push_back(command->get_name());
    if (names.back() == argv[1]) return;
  }
  throw base::Error(base::ErrorKind::usage,
                    "unknown command '" + std::string(argv[1]) + "', did you mean '" +
                        std::string(base::nearest(argv[1], names)) + "'? See ssmax --help");
}

int run(int argc, char** argv) {
  CLI::App program(kDescription, "ssmax");
  program.set_version_flag("--version",
                           std::string("ssmax ") + base::kVersion + " (" + base::kGitHash + ")");
  program.require_subcommand(1);
  program.failure_message(CLI::FailureMessage::simple);
  add_commands(program);
  // After the commands, which would inherit it.
  program.footer("Exit codes: " + app::exit_codes_text() + ".");
  check_command(program, argc, argv);
  try {
    program.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = program.exit(error);
    return code == 0 ? 0 : app::exit_code(base::ErrorKind::usage);
  }
  return 0;
}

/// What was printed must have arrived: a full disk shows when the buffers are written.
void finish_output() {
  std::cout.flush();
  if (std::cout && std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return;
  throw base::Error(base::ErrorKind::disk, "cannot write to standard output; is the disk full?");
}

}  // namespace

int main(int argc, char** argv) {
  // A file that outgrows the limit of the process is an error of the call that writes it.
  std::signal(SIGXFSZ, SIG_IGN);
  try {
    const int code = run(argc, argv);
    finish_output();
    return code;
  } catch (const base::Error& error) {
    std::fprintf(stderr, "ssmax: %s\n", error.what());
    return app::exit_code(error.kind());
  } catch (const std::filesystem::filesystem_error& error) {
    std::fprintf(stderr, "ssmax: %s\n", error.what());
    return app::exit_code(base::ErrorKind::disk);
  } catch (const std::system_error& error) {
    std::fprintf(stderr, "ssmax: the system gives no more: %s; use fewer threads\n", error.what());
    return app::exit_code(base::ErrorKind::device);
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr,
                 "ssmax: out of memory; in training lower training.micro_batch_sequences or use "
                 "training.recompute=block\n");
    return app::exit_code(base::ErrorKind::device);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "ssmax: internal error: %s\n", error.what());
    return 1;
  }
}
