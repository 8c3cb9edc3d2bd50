#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <string>
#include <vector>

namespace ssmax::app {

/// Config overrides among what CLI11 did not know, here or in a subcommand: --section.key=value.
/// Throws Error(usage) for anything else.
std::vector<std::string> overrides_of(const CLI::App& command);

/// Checks of numbers. CLI11's own show the largest double as the upper bound, take nan for a number
/// between any two, and cut an integer of 70 bits to 64.
CLI::Validator positive_number();
CLI::Validator non_negative_number();
CLI::Validator number_between(double least, double most);
/// Of every option --threads; 0 = all cores.
CLI::Validator thread_number();

/// What every option --tokenizer takes; for the help.
inline constexpr char kTokenizerHelp[] =
    "\"bytes\", a tokenizer.json, or a folder with GPT-2's files";

/// Makes the folder of a result's file, before the work that leads to it.
void make_folder_of(const std::filesystem::path& file);

/// One per subcommand: adds it to the program; its callback runs it and throws base::Error.
void add_train(CLI::App& program);
void add_swap(CLI::App& program);
void add_evaluate(CLI::App& program);
void add_generate(CLI::App& program);
void add_export(CLI::App& program);
void add_import(CLI::App& program);
void add_tokenizer(CLI::App& program);
void add_prepare(CLI::App& program);
void add_prepare_needle(CLI::App& program);
void add_inspect(CLI::App& program);
void add_normalizers(CLI::App& program);
void add_config(CLI::App& program);
void add_bench(CLI::App& program);
void add_completion(CLI::App& program);
void add_man(CLI::App& program);

}  // namespace ssmax::app
