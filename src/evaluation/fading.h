#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "corpus/loader.h"
#include "evaluation/attention_rows.h"
#include "model/model.h"

/// How far attention spreads out as the number of keys n grows.
namespace ssmax::evaluation {

/// The rows of n keys of every head, means over sequences.
struct FadingRows {
  std::int64_t keys = 0;         // n
  std::vector<RowSpread> heads;  // (layers * H)

  /// Over all heads.
  RowSpread mean() const;
};

/// The n that are looked at: 2, 3, 4, 6, 8, 11 ..., two to each doubling, and `longest`.
std::vector<std::int64_t> fading_lengths(std::int64_t longest);

/// fading_lengths(T) of the loader's next `sequences`, a multiple of its batch, without a document
/// mask. `progress` is told the tokens that are done.
std::vector<FadingRows> measure_fading(Stream& stream, const model::Model& model,
                                       corpus::Loader& loader, std::int64_t sequences,
                                       const std::function<void(std::int64_t tokens)>& progress);

}  // namespace ssmax::evaluation
