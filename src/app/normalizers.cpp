#include <cstdio>
#include <sstream>
#include <string>

#include "app/command.h"
#include "normalizers/registry.h"

namespace ssmax::app {

namespace {

using kernels::NormalizerParameter;

std::string start_text(const NormalizerParameter& parameter) {
  if (parameter.init == NormalizerParameter::Init::log_length) return "starts at ln n";
  char text[64];
  std::snprintf(text, sizeof(text), "starts at %g", parameter.value);
  return text;
}

std::string parameter_line(const NormalizerParameter& parameter) {
  const bool per_head = parameter.owner == NormalizerParameter::Owner::head;
  return "    " + parameter.name +
         (per_head ? "  one per layer and head, " : "  one per n, for all layers and heads, ") +
         start_text(parameter) + '\n';
}

std::string describe(const kernels::NormalizerEntry& entry) {
  std::string text = entry.kind + "  " + (entry.has_cuda ? "[CPU, CUDA]" : "[CPU]") + '\n';
  text += "  " + entry.help + '\n';
  text += "  formula: " + entry.formula + '\n';
  text += "  source:  " + entry.source + '\n';
  const base::AnySection options = entry.options();
  if (!options.info().fields.empty()) {
    text += "  options (type, default):\n";
    std::istringstream lines(options.explain());
    for (std::string line; std::getline(lines, line);) text += "    " + line + '\n';
  }
  const std::vector<NormalizerParameter> parameters = entry.make(options)->parameters();
  if (!parameters.empty()) text += "  learned with these defaults:\n";
  for (const NormalizerParameter& parameter : parameters) text += parameter_line(parameter);
  return text;
}

}  // namespace

void add_normalizers(CLI::App& program) {
  CLI::App* command = program.add_subcommand("normalizers", "List the attention normalizers");
  command->callback([] {
    std::string text = "z = q.k / sqrt(D); n = number of visible keys; x = row scale times z\n";
    for (const kernels::NormalizerEntry& entry : normalizers::entries()) {
      text += '\n' + describe(entry);
    }
    std::fputs(text.c_str(), stdout);
  });
}

}  // namespace ssmax::app
