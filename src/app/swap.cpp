#include <iostream>

#include "app/command.h"
#include "app/write_run.h"
#include "checkpoint/match.h"
#include "model/model.h"

namespace ssmax::app {

namespace {

struct SwapOptions {
  std::string checkpoint;
  std::string out;
};

constexpr char kNormalizer[] = "model.normalizer";

/// A swap changes the normalizer and nothing else of the model.
void check_only_normalizer(const train::RunConfig& before, const train::RunConfig& after) {
  for (const base::ConfigDifference& difference : base::config_differences(before, after)) {
    if (difference.key.starts_with("model.") &&
        !difference.key.starts_with(std::string(kNormalizer) + ".")) {
      throw base::Error(base::ErrorKind::usage, "a swap may change model.normalizer only, not " +
                                                    difference.key + " (" + difference.left +
                                                    " to " + difference.right + ")");
    }
  }
}

void run_swap(const CLI::App& command, const SwapOptions& options) {
  checkpoint::require_no_checkpoints(options.out);
  const checkpoint::LoadedCheckpoint loaded = checkpoint::load(options.checkpoint);
  const std::vector<std::string> overrides = overrides_of(command);
  std::vector<std::string> all = {"--name=" + name_of_run(options.out),
                                  "--start.checkpoint=" + options.checkpoint,
                                  "--start.allow_change=[\"model.normalizer\"]"};
  all.insert(all.end(), overrides.begin(), overrides.end());
  const train::RunConfig config = train::saved_config(loaded, all).resolved();
  check_only_normalizer(train::saved_config(loaded).resolved(), config);

  device::Stream stream;
  device::Arena arena;
  const model::Model model(config.model, device::DType::f32, params::Gradients::none, arena);
  const params::ParameterSet& parameters = model.parameters();
  const device::Shape flat = parameters.flat_master().shape();
  const device::Tensor first = arena.allocate("first moments", device::DType::f32, flat);
  const device::Tensor second = arena.allocate("second moments", device::DType::f32, flat);
  parameters.initialize(stream, static_cast<std::uint64_t>(config.seed));
  const checkpoint::SwapReport report =
      checkpoint::load_parameters(loaded, parameters, {kNormalizer});
  const std::vector<std::int64_t> step_counts =
      checkpoint::load_moments(loaded, parameters, first, second);

  checkpoint::Manifest manifest = loaded.manifest();
  manifest.files.clear();
  std::erase_if(manifest.state,
                [](const auto& entry) { return entry.first.starts_with(checkpoint::kStepCount); });
  checkpoint::add_step_counts(manifest, parameters, step_counts);
  const checkpoint::SaveReport saved =
      write_run(options.out, config, manifest,
                checkpoint::tensor_files(checkpoint::model_tensors(parameters),
                                         checkpoint::moment_tensors(parameters, first, second)));
  std::cout << checkpoint::to_text(report) << "wrote " << saved.folder.string() << '\n';
}

}  // namespace

void add_swap(CLI::App& program) {
  auto* command = program.add_subcommand("swap", "Give a checkpoint another attention normalizer");
  command->footer(
      "--model.normalizer.kind names the new one, --model.normalizer.OPTION its options: see\n"
      "`ssmax normalizers`. All other weights stay. A scale s that the new normalizer learns "
      "starts\n"
      "at 1 / mean(ln n) over the training length unless model.normalizer.initial_scale says\n"
      "otherwise. The run is named after its folder, or by --name.\n"
      "Example:  ssmax swap runs/a --out runs/e --model.normalizer.kind=ssmax");
  command->allow_extras();
  auto options = std::make_shared<SwapOptions>();
  command->add_option("CHECKPOINT", options->checkpoint, "A checkpoint or a run's folder")
      ->required();
  command->add_option("--out", options->out, "Run folder of the new checkpoint; must hold none yet")
      ->required();
  command->callback([command, options] { run_swap(*command, *options); });
}

}  // namespace ssmax::app
