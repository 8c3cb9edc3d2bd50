#pragma once

#include <CLI/CLI.hpp>

namespace ssmax::app {

/// `ssmax tokenizer train|encode|decode`.
void add_tokenizer(CLI::App& program);

}  // namespace ssmax::app
