#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ctime>

#include "app/bench/timing.h"
#include "base/clock.h"
#include "base/setting_scope.h"
#include "model/model.h"
#include "optim/adamw_optimizer.h"

namespace ssmax::app {

namespace {

using device::Tensor;

model::ModelConfig model_config(const BenchOptions& options, const std::string& normalizer) {
  model::ModelConfig config = with_normalizer(normalizer);
  config.vocab_size = options.vocabulary;
  config.num_hidden_layers = options.layers;
  config.num_attention_heads = options.heads;
  config.hidden_size = options.hidden;
  config.intermediate_size = options.intermediate;
  config.max_position_embeddings = options.sequence_length;
  if (options.architecture == Architecture::gpt2) {
    config.mlp = model::MlpKind::gelu;
    config.norm = model::NormKind::layer_norm;
    config.position.kind = model::PositionKind::learned;
    config.bias = true;
    config.tie_word_embeddings = true;
  }
  return config;
}

/// A model with everything that a training step needs.
class TrainingStep {
 public:
  TrainingStep(Bench& bench, const std::string& normalizer, const Tensor& tokens)
      : arena_(bench.stream().device()),
        model_(model_config(bench.options(), normalizer), bench.activation_dtype(),
               params::Gradients::allocate, arena_),
        activations_(model_.config(), model_.attention_row_values(), shape(bench), arena_),
        optimizer_(model_.parameters(), {}, arena_),
        batch_{tokens, tokens, {}} {
    model_.parameters().initialize(bench.stream(), 1);
    model_.parameters().refresh_compute(bench.stream());
  }

  void run(device::Stream& stream) {
    device::fill_zero(stream, model_.parameters().flat_gradients());
    model_.forward_for_training(stream, activations_, batch_,
                                1.0 / static_cast<double>(activations_.rows()));
    model_.backward(stream, activations_, batch_, {});
    optimizer_.step(stream, 1e-4);
    optimizer_.read(stream);
  }

  double flop_per_token() const {
    return model::count_flops(model_.config(), model_.config().max_position_embeddings)
        .training_per_token();
  }

 private:
  static model::ActivationOptions shape(const Bench& bench) {
    model::ActivationOptions result;
    result.length = bench.options().sequence_length;
    result.batch = bench.options().tokens / result.length;
    result.dtype = bench.activation_dtype();
    return result;
  }

  device::Arena arena_;
  model::Model model_;
  model::Activations activations_;
  optim::AdamwOptimizer optimizer_;
  model::TokenBatch batch_;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

/// Ranks between which the median lies in 95 of 100 samples of this size: the binomial
/// distribution, as a normal one.
std::pair<double, double> median_interval(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const auto count = static_cast<double>(values.size());
  const auto below = static_cast<std::int64_t>(std::floor(count / 2 - 0.98 * std::sqrt(count)));
  const auto rank = static_cast<std::size_t>(std::max<std::int64_t>(below, 0));
  return {values[rank], values[values.size() - 1 - rank]};
}

struct Column {
  std::string name;
  kernels::GeluFusion fusion;
  kernels::AttentionForm attention;
  std::unique_ptr<TrainingStep> step;
  std::vector<double> wall, cpu;  // seconds of each round

  void run(device::Stream& stream) const {
    const base::SettingScope gelu_scope(kernels::set_gelu_fusion, fusion);
    const base::SettingScope attention_scope(kernels::set_attention_form, attention);
    step->run(stream);
  }
};

/// On a CPU, which others may share, columns are compared by its own time.
void print(Bench& bench, const Column& column, const Column& first) {
  const double seconds = median(column.wall);
  std::printf("%-34s %9.2f ms", column.name.c_str(), 1e3 * seconds);
  base::JsonValue line = base::JsonValue::object();
  line.add("name", base::JsonValue::of(column.name));
  line.add("architecture",
           base::JsonValue::of(choice_name(kArchitectures, bench.options().architecture)));
  line.add("seconds", base::JsonValue::of(seconds));
  const double speed = static_cast<double>(bench.options().tokens) / seconds;
  line.add("tokens_per_second", base::JsonValue::of(speed));
  if (bench.on_gpu()) {
    const double share = speed * column.step->flop_per_token() / bench.product_limit();
    std::printf(" %9.0f tokens/s %5.1f %% of the limit", speed, 100.0 * share);
    line.add("share_of_limit", base::JsonValue::of(share));
  } else {
    std::printf(" %9.2f ms CPU", 1e3 * median(column.cpu));
  }
  bench.record(line);
  if (&column != &first) {
    const auto times = bench.on_gpu() ? &Column::wall : &Column::cpu;
    std::vector<double> percent;
    for (std::size_t round = 0; round < column.cpu.size(); ++round) {
      percent.push_back(100.0 * ((column.*times)[round] / (first.*times)[round] - 1.0));
    }
    const auto [low, high] = median_interval(percent);
    std::printf("  %+6.2f %% [%+.2f, %+.2f]", median(percent), low, high);
  }
  std::printf("\n");
}

}  // namespace

void bench_step(Bench& bench) {
  const BenchOptions& o = bench.options();
  const Tensor tokens = bench.tokens({o.tokens / o.sequence_length, o.sequence_length});
  std::vector<Column> columns;
  std::vector<std::string> normalizers = o.normalizers;
  if (normalizers.empty()) normalizers = {"softmax", "softmax", "ssmax", "self_adjust"};
  for (const std::string& normalizer : normalizers) {
    for (const kernels::GeluFusion fusion : o.gelu_fusion) {
      for (const kernels::AttentionForm form : o.attention_form) {
        std::string name = "step " + normalizer;
        if (fusion != kernels::GeluFusion::automatic) {
          name += ", gelu fusion " + choice_name(kGeluFusions, fusion);
        }
        columns.push_back({name + suffix(form),
                           fusion,
                           form,
                           std::make_unique<TrainingStep>(bench, normalizer, tokens),
                           {},
                           {}});
        columns.back().run(bench.stream());
      }
    }
  }
  // Round by round, each beginning with another, so that what the machine does meets all alike.
  const auto count = static_cast<int>(columns.size());
  for (int round = 0; round < o.rounds; ++round) {
    for (int turn = 0; turn < count; ++turn) {
      Column& column = columns[static_cast<std::size_t>((round + turn) % count)];
      const base::Stopwatch watch;
      const std::clock_t start = std::clock();
      column.run(bench.stream());
      column.cpu.push_back(static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
      column.wall.push_back(watch.seconds());
    }
  }
  std::printf(
      "training steps, %lld layers of width %lld, %lld x %lld tokens, %s, %d rounds;\n"
      "%s against the first, median and its 95 %% interval\n",
      static_cast<long long>(o.layers), static_cast<long long>(o.hidden),
      static_cast<long long>(o.tokens / o.sequence_length),
      static_cast<long long>(o.sequence_length), std::string(device::name_of(o.dtype)).c_str(),
      o.rounds, bench.on_gpu() ? "time" : "CPU time");
  for (const Column& column : columns) print(bench, column, columns.front());
}

}  // namespace ssmax::app
