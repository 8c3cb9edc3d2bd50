#include "model/activations.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/rope/rope.h"
#include "model/parameter_layout.h"

namespace ssmax::model {

namespace {

constexpr std::int64_t kLogitsElements = std::int64_t{1} << 26;
/// Every chunk of rows adds to the gradient of the whole output layer, 8 bytes an element of it: at
/// 5,000 rows that is a twentieth of the time of the chunk's products.
constexpr std::int64_t kLogitsElementsOnGpu = std::int64_t{1} << 28;
/// Chunks are whole tiles of its matrix products.
constexpr std::int64_t kTileRows = 128;

struct Sizes {
  Sizes(const ModelConfig& config, const ActivationOptions& options)
      : b(options.batch),
        t(options.length),
        m(b * t),
        h(config.heads()),
        d(config.head_size()),
        c(config.hidden_size),
        f(config.intermediate_size),
        qkv_heads(config.qkv_heads()),
        mlp_input(config.mlp == MlpKind::swiglu ? 2 * f : f),
        dtype(options.dtype),
        statistics(device::accumulator_dtype(options.dtype)) {}

  std::int64_t b, t, m, h, d, c, f, qkv_heads, mlp_input;
  DType dtype, statistics;
};

kernels::LayerNormSaved allocate_norm(const ModelConfig& config, const Sizes& s, Arena& arena) {
  kernels::LayerNormSaved saved;
  if (config.norm == NormKind::layer_norm) {
    saved.mean = arena.allocate("norm statistics", s.statistics, {s.m});
  }
  saved.rstd = arena.allocate("norm statistics", s.statistics, {s.m});
  return saved;
}

/// Everything of a block but its input.
BlockActivations allocate_block(const ModelConfig& config, std::int64_t row_values, const Sizes& s,
                                Arena& arena) {
  BlockActivations block;
  block.norm1 = allocate_norm(config, s, arena);
  block.normed1 = arena.allocate("activations: norms", s.dtype, {s.m, s.c});
  block.qkv = arena.allocate("activations: attention", s.dtype, {s.b, s.t, s.qkv_heads, s.d});
  block.row_scale = arena.allocate("activations: attention rows", s.statistics, {s.b, s.h, s.t});
  if (row_values > 0) {
    block.attention_rows.rows =
        arena.allocate("activations: attention rows", s.statistics, {s.b, s.h, s.t, row_values});
  }
  block.attention = arena.allocate("activations: attention", s.dtype, {s.b, s.t, s.h, s.d});
  block.middle = arena.allocate("activations: residual stream", s.dtype, {s.m, s.c});
  block.norm2 = allocate_norm(config, s, arena);
  block.normed2 = arena.allocate("activations: norms", s.dtype, {s.m, s.c});
  block.mlp_input = arena.allocate("activations: mlp", s.dtype, {s.m, s.mlp_input});
  block.mlp_hidden = arena.allocate("activations: mlp", s.dtype, {s.m, s.f});
  return block;
}

GradientBuffers allocate_gradients(const ModelConfig& config, const Sizes& s, Arena& arena) {
  const auto allocate = [&](const Shape& shape) {
    return arena.allocate("activation gradients", s.dtype, shape);
  };
  GradientBuffers gradients;
  gradients.residual = allocate({s.m, s.c});
  gradients.normed = allocate({s.m, s.c});
  gradients.attention = allocate({s.b, s.t, s.h, s.d});
  gradients.qkv = allocate({s.b, s.t, s.qkv_heads, s.d});
  gradients.row_scale = arena.allocate("activation gradients", s.statistics, {s.b, s.h, s.t});
  if (config.mlp == MlpKind::swiglu) gradients.mlp_hidden = allocate({s.m, s.f});
  gradients.mlp_input = allocate({s.m, s.mlp_input});
  return gradients;
}

}  // namespace

std::int64_t logits_rows(device::Device device, std::int64_t rows, std::int64_t columns) {
  if (device.kind == device::DeviceKind::cpu) {
    return std::clamp(kLogitsElements / columns, std::int64_t{1}, rows);
  }
  const std::int64_t tiles = kLogitsElementsOnGpu / columns / kTileRows;
  return std::clamp(tiles * kTileRows, std::min(kTileRows, rows), rows);
}

std::vector<double> alibi_slopes(std::int64_t heads) {
  const auto powers = [](std::int64_t count, std::int64_t first, std::int64_t stride) {
    std::vector<double> slopes;
    for (std::int64_t i = first; i <= count; i += stride) {
      slopes.push_back(std::exp2(-8.0 * static_cast<double>(i) / static_cast<double>(count)));
    }
    return slopes;
  };
  const auto floor = static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(heads)));
  std::vector<double> slopes = powers(floor, 1, 1);
  const std::vector<double> between = powers(2 * floor, 1, 2);
  slopes.insert(slopes.end(), between.begin(), between.begin() + (heads - floor));
  return slopes;
}

Activations::Activations(const ModelConfig& config, std::int64_t row_values,
                         const ActivationOptions& given, Arena& arena)
    : options(given) {
  const Sizes s(config, options);
  const bool training = options.purpose == Purpose::training;
  const bool own_memory = training && options.recompute == Recompute::none;

  BlockActivations shared;
  Tensor shared_input;
  if (!own_memory) {
    shared = allocate_block(config, training ? row_values : 0, s, arena);
    if (!training)
      shared_input = arena.allocate("activations: residual stream", s.dtype, {s.m, s.c});
  }
  for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) {
    blocks.push_back(own_memory ? allocate_block(config, row_values, s, arena) : shared);
    blocks.back().input = training
                              ? arena.allocate("activations: residual stream", s.dtype, {s.m, s.c})
                              : shared_input;
  }
  delta = arena.allocate("activations: residual stream", s.dtype, {s.m, s.c});
  output = arena.allocate("activations: residual stream", s.dtype, {s.m, s.c});
  final_norm = allocate_norm(config, s, arena);
  final_normed = arena.allocate("activations: norms", s.dtype, {s.m, s.c});
  const std::int64_t columns = padded_vocabulary(config.vocab_size);
  logits = arena.allocate("logits", s.dtype, {logits_rows(arena.device(), s.m, columns), columns});
  losses = arena.allocate("losses", s.statistics, {s.m});
  if (training) gradients = allocate_gradients(config, s, arena);

  if (config.position.kind == PositionKind::rope) {
    rope_table =
        arena.allocate("position tables", s.statistics, {std::max(s.t, options.positions), s.d});
  }
  if (config.position.kind == PositionKind::alibi) {
    alibi_slopes = arena.allocate("position tables", s.statistics, {s.h});
  }
  if (!arena.planning()) fill_position_tables(config);
}

void Activations::fill_position_tables(const ModelConfig& config) const {
  if (!rope_table.empty()) {
    Stream stream(rope_table.device());
    kernels::rope_table(stream, rope_table, config.position.theta);
    stream.synchronize();
  }
  if (!alibi_slopes.empty()) {
    Stream stream(alibi_slopes.device());
    const Shape& shape = alibi_slopes.shape();
    const std::vector<double> slopes = model::alibi_slopes(shape[0]);
    const std::vector<float> rounded(slopes.begin(), slopes.end());
    const bool wide = alibi_slopes.dtype() == DType::f64;
    device::copy(stream, alibi_slopes,
                 wide ? device::view(slopes.data(), shape) : device::view(rounded.data(), shape));
    stream.synchronize();
  }
}

}  // namespace ssmax::model
