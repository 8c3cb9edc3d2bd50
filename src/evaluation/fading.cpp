#include "evaluation/fading.h"

#include <cmath>

#include "model/generation.h"

namespace ssmax::evaluation {

namespace {

/// New positions of one pass.
constexpr std::int64_t kChunk = 256;

void add(RowSpread& sum, const RowSpread& one) {
  sum.sum += one.sum;
  sum.maximum += one.maximum;
  sum.entropy += one.entropy;
}

void divide(RowSpread& sum, double count) {
  sum.sum /= count;
  sum.maximum /= count;
  sum.entropy /= count;
}

/// Feeds a batch of sequences, part after part.
class SequenceFeed {
 public:
  SequenceFeed(Stream& stream, model::KvDecoder& decoder,
               const std::function<void(std::int64_t tokens)>& progress)
      : stream_(stream), decoder_(decoder), progress_(progress) {}

  /// What stands before position `end` and was not fed yet.
  void until(std::int64_t end, const corpus::Batch& batch, const model::AttentionVisitor& visit) {
    part_.clear();
    for (std::int64_t b = 0; b < batch.sequences; ++b) {
      const auto row = batch.tokens.begin() + b * batch.length;
      part_.insert(part_.end(), row + decoder_.position(), row + end);
    }
    if (part_.empty()) return;
    decoder_.feed(stream_, part_, visit,
                  [&](std::int64_t positions) { progress_(batch.sequences * positions); });
  }

 private:
  Stream& stream_;
  model::KvDecoder& decoder_;
  const std::function<void(std::int64_t tokens)>& progress_;
  std::vector<std::int32_t> part_;
};

}  // namespace

RowSpread FadingRows::mean() const {
  RowSpread mean;
  for (const RowSpread& head : heads) add(mean, head);
  divide(mean, static_cast<double>(heads.size()));
  return mean;
}

std::vector<std::int64_t> fading_lengths(std::int64_t longest) {
  std::vector<std::int64_t> lengths;
  for (int i = 2;; ++i) {
    const auto n = static_cast<std::int64_t>(std::lround(std::exp2(i / 2.0)));
    if (n >= longest) break;
    lengths.push_back(n);
  }
  lengths.push_back(longest);
  return lengths;
}

std::vector<FadingRows> measure_fading(Stream& stream, const model::Model& model,
                                       corpus::Loader& loader, std::int64_t sequences,
                                       const std::function<void(std::int64_t tokens)>& progress) {
  const std::int64_t batch = loader.options().batch_sequences;
  const std::int64_t longest = loader.options().sequence_length;
  const auto heads = static_cast<std::size_t>(model.config().heads());
  const auto layers = static_cast<std::size_t>(model.config().num_hidden_layers);
  std::vector<FadingRows> all;
  for (const std::int64_t n : fading_lengths(longest)) {
    all.push_back({n, std::vector<RowSpread>(layers * heads)});
  }
  device::Arena arena(stream.device());
  model::KvDecoder decoder(model, batch, longest, arena, kChunk);
  AttentionRows rows(model, batch, longest, arena);
  SequenceFeed feed(stream, decoder, progress);
  for (std::int64_t done = 0; done < sequences; done += batch) {
    const corpus::Batch next = loader.next();
    decoder.rewind(0);
    for (FadingRows& at : all) {
      feed.until(at.keys - 1, next, {});
      // One position alone, so that only its row is weighed.
      feed.until(at.keys, next, rows.visitor(stream, [&](const AttentionRow& row) {
        const std::size_t first = static_cast<std::size_t>(row.block) * heads;
        for (std::int64_t b = 0; b < batch; ++b) {
          for (std::size_t h = 0; h < heads; ++h) {
            add(at.heads[first + h], spread_of(row.of(b, static_cast<std::int64_t>(h))));
          }
        }
      }));
    }
  }
  for (FadingRows& at : all) {
    for (RowSpread& head : at.heads) divide(head, static_cast<double>(sequences));
  }
  return all;
}

}  // namespace ssmax::evaluation
