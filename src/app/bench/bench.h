#pragma once

#include <CLI/CLI.hpp>

namespace ssmax::app {

/// `ssmax bench [OP...]`: times every op at one shape and prints the share of this machine's limits
/// measured in the same run, memory bandwidth for ops that move data, matrix products for the rest;
/// and whole training steps of several normalizers against each other.
void add_bench(CLI::App& program);

}  // namespace ssmax::app
