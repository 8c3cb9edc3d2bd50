#include "evaluation/continuations.h"

#include <algorithm>
#include <memory>
#include <numeric>
#include <optional>
#include <utility>

#include "base/errors.h"
#include "kernels/cast/cast.h"
#include "kernels/cross_entropy/cross_entropy.h"

namespace ssmax::evaluation {

namespace {

constexpr std::int64_t kRows = 4096;      // of one forward pass
constexpr std::int64_t kLengthStep = 16;  // lengths of passes are multiples of it

/// What goes into the model: T tokens, of whose targets the last `answers` count.
struct Row {
  std::size_t index = 0;
  std::vector<std::int32_t> tokens;
  std::vector<std::int32_t> targets;
};

Row row_of(const Continuation& continuation, std::size_t index, std::int64_t max_length) {
  std::vector<std::int32_t> all = continuation.context;
  all.insert(all.end(), continuation.tokens.begin(), continuation.tokens.end());
  if (std::ssize(all) > max_length + 1) all.erase(all.begin(), all.end() - (max_length + 1));
  if (continuation.tokens.empty() || std::ssize(continuation.tokens) >= std::ssize(all)) {
    throw base::Error(base::ErrorKind::usage,
                      "a continuation of " + std::to_string(continuation.tokens.size()) +
                          " tokens does not fit --max-length " + std::to_string(max_length));
  }
  Row row;
  row.index = index;
  row.tokens.assign(all.begin(), all.end() - 1);
  row.targets.assign(row.tokens.size(), kernels::kIgnoredTarget);
  std::copy(continuation.tokens.begin(), continuation.tokens.end(),
            row.targets.end() - std::ssize(continuation.tokens));
  return row;
}

/// Forward passes of one shape.
class Pass {
 public:
  Pass(const model::Model& model, std::int64_t batch, std::int64_t length)
      : model_(model), batch_(batch), length_(length), losses_(size()), likeliest_(size()) {
    arena_ = device::Arena(model.parameters().flat_master().device());
    activations_.emplace(model.evaluation_activations(batch, length, arena_));
    tokens_ = arena_.allocate("tokens", device::DType::i32, {batch, length});
    targets_ = arena_.allocate("tokens", device::DType::i32, {batch, length});
    wide_losses_ = arena_.allocate("losses", device::DType::f64, {batch * length});
    logits_ = arena_.allocate("logits", device::DType::f32, activations_->logits.shape());
    host_logits_.resize(static_cast<std::size_t>(logits_.elements()));
  }

  std::int64_t batch() const { return batch_; }
  std::int64_t length() const { return length_; }

  void run(Stream& stream, std::span<const Row> rows, std::vector<ContinuationScore>& scores) {
    std::vector<std::int32_t> tokens(size(), 0);
    std::vector<std::int32_t> targets(size(), kernels::kIgnoredTarget);
    for (std::size_t b = 0; b < rows.size(); ++b) {
      const auto at = static_cast<std::ptrdiff_t>(b) * length_;
      std::ranges::copy(rows[b].tokens, tokens.begin() + at);
      std::ranges::copy(rows[b].targets, targets.begin() + at);
    }
    const device::Shape shape{batch_, length_};
    device::copy(stream, tokens_, device::view(std::as_const(tokens).data(), shape));
    device::copy(stream, targets_, device::view(std::as_const(targets).data(), shape));
    model_.forward(stream, *activations_, {tokens_, targets_, {}},
                   [&](std::int64_t first, const device::ConstTensor& logits) {
                     find_likeliest(stream, first, logits, targets);
                   });
    kernels::cast(stream, wide_losses_, activations_->losses);
    device::copy(stream, device::view(losses_.data(), wide_losses_.shape()), wide_losses_);
    stream.synchronize();
    for (std::size_t b = 0; b < rows.size(); ++b) {
      ContinuationScore& score = scores[rows[b].index];
      score.greedy = true;
      for (std::size_t t = 0; t < rows[b].targets.size(); ++t) {
        const std::size_t i = b * static_cast<std::size_t>(length_) + t;
        if (targets[i] == kernels::kIgnoredTarget) continue;
        score.log_likelihood -= losses_[i];
        score.greedy = score.greedy && likeliest_[i] == targets[i];
      }
    }
  }

 private:
  std::size_t size() const { return static_cast<std::size_t>(batch_ * length_); }

  void find_likeliest(Stream& stream, std::int64_t first, const device::ConstTensor& logits,
                      std::span<const std::int32_t> targets) {
    const device::Tensor wide = logits_.rows(0, logits.extent(0));
    kernels::cast(stream, wide, logits);
    device::copy(stream, device::view(host_logits_.data(), wide.shape()), wide);
    stream.synchronize();
    const std::int64_t vocab = model_.config().vocab_size;
    const std::int64_t stride = logits.extent(1);
    for (std::int64_t row = 0; row < logits.extent(0); ++row) {
      const auto i = static_cast<std::size_t>(first + row);
      if (targets[i] == kernels::kIgnoredTarget) continue;
      const auto begin = host_logits_.begin() + row * stride;
      likeliest_[i] = static_cast<std::int32_t>(std::max_element(begin, begin + vocab) - begin);
    }
  }

  const model::Model& model_;
  std::int64_t batch_;
  std::int64_t length_;
  device::Arena arena_;
  std::optional<model::Activations> activations_;
  device::Tensor tokens_, targets_;  // (B, T) i32
  device::Tensor wide_losses_;       // (B T) f64
  device::Tensor logits_;            // (rows at a time, S) f32
  std::vector<float> host_logits_;
  std::vector<double> losses_;
  std::vector<std::int32_t> likeliest_;
};

}  // namespace

Continuation encode_pair(const corpus::Tokenizer& tokenizer, std::string_view context,
                         std::string_view continuation) {
  const std::size_t words = context.find_last_not_of(" \t\n\r\v\f") + 1;
  const std::string whole = std::string(context).append(continuation);
  const std::vector<std::int32_t> all = tokenizer.encode(whole);
  Continuation result;
  result.context = tokenizer.encode(context.substr(0, words));
  const std::size_t cut = std::min(result.context.size(), all.size());
  result.tokens.assign(all.begin() + static_cast<std::ptrdiff_t>(cut), all.end());
  if (result.context.empty()) result.context.push_back(tokenizer.end_of_text());
  return result;
}

std::vector<ContinuationScore> score(Stream& stream, const model::Model& model,
                                     std::span<const Continuation> continuations,
                                     std::int64_t max_length,
                                     const std::function<void(std::int64_t tokens)>& progress) {
  std::vector<ContinuationScore> scores(continuations.size());
  std::vector<Row> rows;
  for (std::size_t i = 0; i < continuations.size(); ++i) {
    rows.push_back(row_of(continuations[i], i, max_length));
  }
  // The longest first, so that neighbors have nearly one length and memory shows at once.
  std::ranges::stable_sort(
      rows, [](const Row& a, const Row& b) { return a.tokens.size() > b.tokens.size(); });
  std::unique_ptr<Pass> pass;
  for (std::size_t begin = 0; begin < rows.size();) {
    const auto longest = static_cast<std::int64_t>(rows[begin].tokens.size());
    // Not beyond max_length, which learned positions may end at.
    const std::int64_t length =
        std::min(max_length, (longest + kLengthStep - 1) / kLengthStep * kLengthStep);
    if (!pass || pass->length() != length) {
      pass.reset();
      pass = std::make_unique<Pass>(model, std::max<std::int64_t>(1, kRows / length), length);
    }
    const std::size_t count =
        std::min(static_cast<std::size_t>(pass->batch()), rows.size() - begin);
    const auto group = std::span<const Row>(rows).subspan(begin, count);
    pass->run(stream, group, scores);
    std::int64_t tokens = 0;
    for (const Row& row : group) tokens += std::ssize(row.tokens);
    progress(tokens);
    begin += count;
  }
  return scores;
}

std::string clean_hellaswag(std::string_view text) {
  constexpr std::string_view kSpaces = " \t\n\r\v\f";
  const auto replaced = [](std::string_view from, std::string_view what, std::string_view by) {
    std::string result;
    while (true) {
      const std::size_t at = from.find(what);
      result.append(from.substr(0, at));
      if (at == std::string_view::npos) return result;
      result.append(by);
      from.remove_prefix(at + what.size());
    }
  };
  text.remove_prefix(std::min(text.find_first_not_of(kSpaces), text.size()));
  text.remove_suffix(text.size() - (text.find_last_not_of(kSpaces) + 1));
  const std::string titled = replaced(text, " [title]", ". ");
  // What stands in brackets on one line goes.
  std::string kept;
  for (std::string_view rest = titled; !rest.empty();) {
    const std::size_t open = rest.find('[');
    kept.append(rest.substr(0, open));
    if (open == std::string_view::npos) break;
    rest.remove_prefix(open);
    const std::size_t close = rest.find_first_of("]\n");
    if (close != std::string_view::npos && rest[close] == ']') {
      rest.remove_prefix(close + 1);
    } else {
      kept.push_back('[');
      rest.remove_prefix(1);
    }
  }
  return replaced(kept, "  ", " ");
}

Choice choose(const ChoiceQuestion& question, std::span<const ContinuationScore> scores) {
  const auto characters = [](const std::string& text) {
    return static_cast<double>(
        std::ranges::count_if(text, [](char c) { return (c & 0xC0) != 0x80; }));
  };
  Choice choice;
  std::vector<double> per_character;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    per_character.push_back(scores[i].log_likelihood / characters(question.endings[i]));
    if (scores[i].log_likelihood > scores[choice.likeliest].log_likelihood) choice.likeliest = i;
  }
  choice.likeliest_per_character =
      static_cast<std::size_t>(std::ranges::max_element(per_character) - per_character.begin());
  return choice;
}

}  // namespace ssmax::evaluation
