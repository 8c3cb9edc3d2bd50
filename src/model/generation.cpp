#include "model/generation.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/random.h"
#include "device/to_host.h"

namespace ssmax::model {

namespace {

constexpr std::uint64_t kSamplingStream = base::random_stream("sampling");

std::int32_t most_likely(std::span<const float> logits) {
  return static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

/// Ids by falling logit, then rising id, cut to the `top_k` first.
std::vector<std::int32_t> candidates(std::span<const float> logits, std::int64_t top_k) {
  std::vector<std::int32_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  const auto before = [&](std::int32_t a, std::int32_t b) {
    const float left = logits[static_cast<std::size_t>(a)];
    const float right = logits[static_cast<std::size_t>(b)];
    return left > right || (left == right && a < b);
  };
  const auto keep = top_k > 0 ? std::min(top_k, static_cast<std::int64_t>(ids.size()))
                              : static_cast<std::int64_t>(ids.size());
  std::partial_sort(ids.begin(), ids.begin() + keep, ids.end(), before);
  ids.resize(static_cast<std::size_t>(keep));
  return ids;
}

}  // namespace

std::int32_t sample_token(std::span<const float> logits, const SamplingOptions& options,
                          std::uint64_t index) {
  if (options.temperature == 0.0) return most_likely(logits);
  const std::vector<std::int32_t> ids = candidates(logits, options.top_k);
  std::vector<double> weights;
  const double top = logits[static_cast<std::size_t>(ids.front())];
  for (const std::int32_t id : ids) {
    weights.push_back(std::exp((logits[static_cast<std::size_t>(id)] - top) / options.temperature));
  }
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::size_t kept = 0;
  double mass = 0.0;
  while (kept < weights.size() && (kept == 0 || mass < options.top_p * total)) {
    mass += weights[kept++];
  }
  double draw = base::random_uniform(options.seed, kSamplingStream, index) * mass;
  for (std::size_t i = 0; i < kept; ++i) {
    draw -= weights[i];
    if (draw < 0.0) return ids[i];
  }
  return ids[kept - 1];
}

KvDecoder::KvDecoder(const Model& model, std::int64_t batch, std::int64_t capacity, Arena& arena,
                     std::int64_t chunk)
    : model_(model), batch_(batch), capacity_(capacity) {
  const std::int64_t positions = model.config().max_position_embeddings;
  if (model.config().position.kind == PositionKind::learned && capacity > positions) {
    throw base::Error(base::ErrorKind::usage,
                      "the model learned positions for " + std::to_string(positions) + " tokens, " +
                          std::to_string(capacity) + " are asked for; take fewer");
  }
  const std::int64_t longest = std::min(chunk, capacity);
  for (std::int64_t length = longest;; length = std::max<std::int64_t>(1, length / 4)) {
    passes_.push_back(model.evaluation_activations(batch, length, arena, capacity));
    if (length == 1) break;
  }
  const ModelConfig& config = model.config();
  const Shape cache{batch, capacity, config.key_value_heads(), config.head_size()};
  for (std::int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    caches_.push_back({arena.allocate("kv cache", model.dtype(), cache),
                       arena.allocate("kv cache", model.dtype(), cache)});
  }
  tokens_ = arena.allocate("tokens", DType::i32, {batch, longest});
  last_hidden_ = arena.allocate("generation", model.dtype(), {batch, config.hidden_size});
  logits_ = arena.allocate("generation", model.dtype(), {batch, config.vocab_size});
  host_logits_.resize(static_cast<std::size_t>(batch * config.vocab_size));
}

void KvDecoder::rewind(std::int64_t position) {
  if (position < 0 || position > position_) {
    throw base::Error(base::ErrorKind::usage, "cannot rewind to position " +
                                                  std::to_string(position) + " of " +
                                                  std::to_string(position_));
  }
  position_ = position;
}

void KvDecoder::feed_chunk(Stream& stream, Activations& activations,
                           std::span<const std::int32_t> tokens, std::int64_t first,
                           std::int64_t row_length, const AttentionVisitor& visit) {
  const std::int64_t length = activations.options.length;
  host_tokens_.clear();
  for (std::int64_t b = 0; b < batch_; ++b) {
    const auto row = tokens.subspan(static_cast<std::size_t>(b * row_length + first),
                                    static_cast<std::size_t>(length));
    host_tokens_.insert(host_tokens_.end(), row.begin(), row.end());
  }
  const Tensor device_tokens(tokens_.raw(), DType::i32, {batch_, length}, tokens_.device());
  device::copy(stream, device_tokens, device::view(host_tokens_.data(), {batch_, length}));
  model_.forward_cached(stream, activations, device_tokens, position_, caches_, logits_,
                        last_hidden_, visit);
  stream.synchronize();
  position_ += length;
}

std::span<const float> KvDecoder::feed(Stream& stream, std::span<const std::int32_t> tokens,
                                       const AttentionVisitor& visit,
                                       const FeedProgress& progress) {
  const auto row_length = static_cast<std::int64_t>(tokens.size()) / batch_;
  if (position_ + row_length > capacity_) {
    throw base::Error(base::ErrorKind::usage, "the context holds " + std::to_string(capacity_) +
                                                  " tokens, asked for " +
                                                  std::to_string(position_ + row_length));
  }
  std::int64_t done = 0;
  while (done < row_length) {
    Activations& longest = *std::ranges::find_if(
        passes_, [&](const Activations& a) { return a.options.length <= row_length - done; });
    feed_chunk(stream, longest, tokens, done, row_length, visit);
    done += longest.options.length;
    if (progress) progress(longest.options.length);
  }
  const std::vector<double> logits = device::to_host(stream, logits_);
  std::transform(logits.begin(), logits.end(), host_logits_.begin(),
                 [](double value) { return static_cast<float>(value); });
  return host_logits_;
}

}  // namespace ssmax::model
