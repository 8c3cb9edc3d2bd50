#include <cstdio>

#include "app/evaluate/evaluate.h"
#include "device/to_host.h"
#include "evaluation/log_fit.h"

namespace ssmax::app {

namespace {

using base::JsonValue;

/// p_n of a model with the normalizer learned_length.
std::vector<double> length_scale_of(OpenModel& open) {
  const params::ParameterSet& set = open.model.parameters();
  const int index = set.find("model.normalizer.length_scale");
  if (index < 0) {
    throw base::Error(
        base::ErrorKind::usage,
        open.config.name + " has no learned p_n; it needs model.normalizer.kind=learned_length");
  }
  return device::to_host(open.stream, set.master(index));
}

JsonValue run_learned_length(OpenModel& open) {
  const std::vector<double> table = length_scale_of(open);
  const evaluation::LogFitReport fit = evaluation::fit_log(table);
  std::printf(
      "p_n = (%.5f +- %.5f) ln n + (%.5f +- %.5f), R^2 %.6f, root mean square error %.5f, "
      "n = 1 .. %zu\n",
      fit.slope, fit.slope_error, fit.offset, fit.offset_error, fit.r_squared, fit.root_mean_square,
      table.size());
  JsonValue json = result_of("learned-length", open);
  json.add("a1", JsonValue::of(fit.slope));
  json.add("a1_standard_error", JsonValue::of(fit.slope_error));
  json.add("a2", JsonValue::of(fit.offset));
  json.add("a2_standard_error", JsonValue::of(fit.offset_error));
  json.add("r_squared", JsonValue::of(fit.r_squared));
  json.add("root_mean_square_error", JsonValue::of(fit.root_mean_square));
  json.add("p", json_list(table));
  return json;
}

}  // namespace

void add_learned_length_task(CLI::App& evaluate, const std::shared_ptr<Evaluation>& evaluation) {
  auto* length =
      evaluate.add_subcommand("learned-length", "The learned p_n, and a1 ln n + a2 fitted to it");
  length->allow_extras();
  length->footer(
      "Least squares over n = 1 .. the length of the table, every n with equal weight. The errors\n"
      "are those of independent residuals, which p_n of neighboring n are not quite.");
  auto result = std::make_shared<ResultFile>();
  result->add_to(*length);
  length->callback([evaluation, result] {
    evaluate_each(*evaluation, *result, [](OpenModel& open, const std::filesystem::path&) {
      return run_learned_length(open);
    });
  });
}

}  // namespace ssmax::app
