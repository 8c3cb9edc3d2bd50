#include <algorithm>
#include <memory>

#include "app/bench/timing.h"
#include "app/command.h"
#include "base/checked.h"
#include "base/errors.h"
#include "device/parallel.h"

namespace ssmax::app {

namespace {

constexpr BenchOp kOps[] = {{"linear", bench_linear},
                            {"linear_gelu", bench_linear_gelu},
                            {"rms_norm", bench_rms_norm},
                            {"layer_norm", bench_layer_norm},
                            {"swiglu", bench_swiglu},
                            {"gelu", bench_gelu},
                            {"cast", bench_cast},
                            {"add", bench_add},
                            {"rope", bench_rope},
                            {"embedding", bench_embedding},
                            {"cross_entropy", bench_cross_entropy},
                            {"norm_squared", bench_norm_squared},
                            {"adamw", bench_adamw},
                            {"attention", bench_attention},
                            {"step", bench_step}};

constexpr auto kDTypes = std::to_array<base::EnumName<device::DType>>(
    {{device::DType::f32, "f32"}, {device::DType::bf16, "bf16"}});
constexpr auto kDevices = std::to_array<base::EnumName<device::DeviceKind>>(
    {{device::DeviceKind::cpu, "cpu"}, {device::DeviceKind::cuda, "cuda"}});

bool is_step(const BenchOp& op) { return op.run == bench_step; }

bool is_wanted(const BenchOptions& options, const BenchOp& op) {
  if (options.ops.empty()) return !is_step(op);
  return std::find(options.ops.begin(), options.ops.end(), op.name) != options.ops.end();
}

void check(const BenchOptions& options) {
  for (const std::string& name : options.ops) {
    const auto is_named = [&](const BenchOp& op) { return name == op.name; };
    if (std::any_of(std::begin(kOps), std::end(kOps), is_named)) continue;
    std::string known;
    for (const BenchOp& op : kOps) known += std::string(" ") + op.name;
    throw base::Error(base::ErrorKind::usage, "unknown op '" + name + "': expected one of" + known);
  }
  base::div_exact(options.tokens, options.sequence_length, "sequences (tokens / sequence-length)");
  base::div_exact(options.hidden, options.heads, "head size (hidden / heads)");
  base::div_exact(options.hidden / options.heads, 2, "half of the head size");
}

void run(const BenchOptions& options) {
  check(options);
  make_folder_of(options.json);
  device::set_cpu_threads(options.threads);
  Bench bench(options);
  for (const BenchOp& op : kOps) {
    if (!is_wanted(options, op)) continue;
    // A step's share is of a GPU's limit; on a CPU it is compared with other steps alone.
    if (!is_step(op) || bench.on_gpu()) bench.measure_limits();
    op.run(bench);
    bench.finish();
  }
  bench.write_results();
}

}  // namespace

void add_bench(CLI::App& program) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App* command = program.add_subcommand(
      "bench", "Time every op, with the share of this machine's limits measured in the same run");
  std::string names;
  for (const BenchOp& op : kOps) names += std::string(names.empty() ? "" : ", ") + op.name;
  command->add_option("op", options->ops, "Ops to time (all): " + names);
  command->add_option("--tokens", options->tokens, "Tokens of a batch: the rows of every op")
      ->check(positive_number());
  command->add_option("--sequence-length", options->sequence_length, "Tokens of one sequence")
      ->check(positive_number());
  command->add_option("--hidden", options->hidden, "Width of the residual stream")
      ->check(positive_number());
  command->add_option("--intermediate", options->intermediate, "Width of the MLP")
      ->check(positive_number());
  command->add_option("--layers", options->layers, "Layers of the model of step")
      ->check(positive_number());
  command->add_option("--heads", options->heads, "Attention heads")->check(positive_number());
  command->add_option("--vocab", options->vocabulary, "Size of the vocabulary")
      ->check(positive_number());
  add_choice(*command, "--dtype", options->dtype, kDTypes, "Activations");
  add_choice(*command, "--architecture", options->architecture, kArchitectures,
             "Of the model of step");
  command->add_option(
      "--normalizers", options->normalizers,
      "KIND or KIND:OPTION=VALUE, for attention (all kinds) and step (softmax softmax ssmax "
      "self_adjust); each step is compared with the first, which twice shows the noise");
  add_choices(
      *command, "--gelu-fusion", options->gelu_fusion, kGeluFusions,
      "Of step: whether a GPU's matrix products compute GELU (auto, on, off); where several "
      "are named, each with every normalizer");
  add_choices(*command, "--attention-form", options->attention_form, kAttentionForms,
              "Of attention and step: how a GPU's attention multiplies (auto; mma, on any GPU; "
              "wgmma, on compute capability 9.0, else as mma); several as for --gelu-fusion");
  command->add_option("--rounds", options->rounds, "Steps of each normalizer")
      ->check(positive_number());
  command->add_option("--seconds", options->seconds, "Time to spend on each op")
      ->check(positive_number());
  command->add_option("--threads", options->threads, "CPU threads (0: all)")
      ->check(thread_number());
  add_choice(*command, "--device", options->device, kDevices,
             "Where to run; a GPU has its own limits");
  command->add_option("--json", options->json, "Write the results to this file too");
  command->footer(
      "The last op, step, is a whole training step, and only runs when it is named: one model for\n"
      "each of --normalizers, --gelu-fusion and --attention-form, a step of each in turn.\n"
      "Example:  ssmax bench step --hidden 384 --intermediate 1024 --heads 6 --rounds 40");
  for (CLI::Option* option : command->get_options()) {
    const std::string& name = option->get_name();
    if (name != "--help" && name != "--normalizers" && name != "--json") {
      option->capture_default_str();
    }
  }
  command->callback([options] { run(*options); });
}

}  // namespace ssmax::app
