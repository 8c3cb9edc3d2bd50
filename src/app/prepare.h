#pragma once

#include <CLI/CLI.hpp>

namespace ssmax::app {

/// `ssmax prepare`: text to token shards.
void add_prepare(CLI::App& program);

}  // namespace ssmax::app
