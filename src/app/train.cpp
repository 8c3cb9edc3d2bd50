#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <iostream>

#include "app/command.h"
#include "app/exit_code.h"
#include "base/format.h"
#include "base/log.h"
#include "device/parallel.h"
#include "kernels/linear/matmul_limit.h"
#include "train/trainer.h"

namespace ssmax::app {

namespace {

struct TrainOptions {
  std::string config;
  std::string out;
  bool dry_run = false;
  bool print_config = false;
};

/// Share of the matmul limit that a step is assumed to reach in the estimate of a dry run.
constexpr double kAssumedShare = 0.5;

void check_device(const train::RunConfig& config) {
  if (config.training.device == train::DeviceChoice::cuda) {
    throw base::Error(base::ErrorKind::device,
                      "training.device=cuda: this build has no CUDA backend; use cpu or auto");
  }
}

void dry_run(const train::RunConfig& given) {
  const bool in_epochs = given.training.epochs > 0 || given.schedule.warmup_epochs > 0;
  const train::RunConfig config =
      in_epochs ? given.with_epochs(train::training_samples(given)) : given;
  const train::MemoryPlan plan = train::choose_micro_batch(config);
  const model::FlopCount flops = model::count_flops(config.model, config.data.sequence_length);
  const double per_step =
      flops.training_per_token() * static_cast<double>(config.tokens_per_step());
  const bool bf16 = config.training.precision == train::Precision::bf16;
  device::Stream stream;
  const double limit =
      1e9 * kernels::measured_matmul_limit(stream, bf16 ? device::DType::bf16 : device::DType::f32);
  const double step_seconds = per_step / (kAssumedShare * limit);
  const auto steps = static_cast<double>(config.training.steps);
  std::cout << "memory, micro-batches of " << plan.micro_batch << " sequences\n"
            << plan.table() << "work\n  "
            << base::format_count(static_cast<double>(config.tokens_per_step()))
            << " tokens a step, " << base::format_count(flops.training_per_token())
            << "FLOP a token\n  matmul limit of this machine " << base::format_count(limit)
            << "FLOP/s; at " << 100 * kAssumedShare << " % of it\n  a step takes "
            << base::format_duration(step_seconds) << ", " << config.training.steps << " steps "
            << base::format_duration(step_seconds * steps) << '\n';
}

void run_train(const CLI::App& command, const TrainOptions& options) {
  const auto given = base::load_config<train::RunConfig>(options.config, overrides_of(command));
  device::set_cpu_threads(static_cast<int>(given.training.threads));
  if (options.print_config) {
    std::cout << base::config_text(given.resolved());
    return;
  }
  const train::RunConfig config = train::with_start_model(given).resolved();
  check_device(config);
  if (options.dry_run) {
    dry_run(config);
    return;
  }
  const std::filesystem::path folder = options.out.empty()
                                           ? std::filesystem::path("runs") / config.name
                                           : std::filesystem::path(options.out);
  const train::StopSignals signals(exit_code(base::ErrorKind::stopped));
  // A thread that hangs cannot be unwound, so the process ends here.
  train::Watchdog watchdog(0, [](const base::Error& error) {
    std::fprintf(stderr, "ssmax: %s\n", error.what());
    _exit(exit_code(error.kind()));
  });
  train::Trainer trainer(config, folder);
  trainer.run(signals, watchdog);
}

}  // namespace

void add_train(CLI::App& program) {
  auto* command = program.add_subcommand("train", "Start a run, or go on with it");
  command->footer(
      "The same command line starts a run and resumes it after any interruption: the newest valid\n"
      "checkpoint of the run's folder decides. Ctrl-C, SIGTERM and SIGUSR1 save and exit with 75.\n"
      "Any key of the config can be overridden: --training.steps=100 "
      "--model.normalizer.kind=ssmax\n"
      "\n"
      "Example:  ssmax train configs/mini/b_ssmax.json --out runs/b --seed=2\n"
      "Keys:     ssmax config --explain");
  command->allow_extras();
  auto options = std::make_shared<TrainOptions>();
  command->add_option("CONFIG", options->config, "The run as a JSON file")->required();
  command->add_option("--out", options->out, "Folder of the run; default runs/NAME");
  command->add_flag("--dry-run", options->dry_run,
                    "Only show what memory and time the run would take");
  command->add_flag("--print-config", options->print_config, "Only show the resolved config");
  command->callback([command, options] { run_train(*command, *options); });
}

}  // namespace ssmax::app
