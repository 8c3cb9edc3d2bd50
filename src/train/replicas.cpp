#include "train/replicas.h"

#include <algorithm>
#include <cstdio>
#include <map>

#include "base/hash.h"
#include "base/text.h"
#include "comm/agreement.h"

namespace ssmax::train {

namespace {

constexpr std::int64_t kChunk = std::int64_t{1} << 20;  // elements on the host at a time

std::string hash_of(device::Stream& stream, const device::ConstTensor& tensor) {
  const device::ConstTensor flat = tensor.reshaped({tensor.elements()});
  const std::int64_t size = device::size_of(flat.dtype());
  std::vector<std::byte> host(static_cast<std::size_t>(std::min(kChunk, flat.elements()) * size));
  base::Hasher hasher;
  for (std::int64_t begin = 0; begin < flat.elements(); begin += kChunk) {
    const device::ConstTensor part = flat.rows(begin, std::min(kChunk, flat.elements() - begin));
    device::copy(stream, device::Tensor(host.data(), part.dtype(), part.shape()), part);
    stream.synchronize();
    hasher.update(std::span(host).first(static_cast<std::size_t>(part.bytes())));
  }
  return hasher.hex();
}

/// The value that most ranks have; the first rank's of equals.
std::string majority(const std::vector<std::vector<std::string>>& hashes, std::size_t tensor) {
  std::map<std::string, int> counts;
  int most = 0;
  for (const auto& rank : hashes) most = std::max(most, ++counts[rank.at(tensor)]);
  for (const auto& rank : hashes) {
    if (counts[rank[tensor]] == most) return rank[tensor];
  }
  return "";
}

}  // namespace

void check_replicas(comm::Communicator& ranks, const params::ParameterSet& parameters) {
  if (ranks.size() == 1) return;
  device::Stream stream(parameters.flat_compute().device());
  std::string mine;
  for (int index = 0; index < parameters.count(); ++index) {
    const bool exact = parameters.specs()[static_cast<std::size_t>(index)].exact;
    mine +=
        hash_of(stream, exact ? parameters.exact_weight(index) : parameters.weight(index)) + " ";
  }
  std::vector<std::vector<std::string>> hashes;
  for (const std::string& text : ranks.gather_texts(mine)) hashes.push_back(base::split(text, ' '));
  for (std::size_t tensor = 0; tensor < parameters.specs().size(); ++tensor) {
    const std::string right = majority(hashes, tensor);
    for (int rank = 0; rank < ranks.size(); ++rank) {
      if (hashes[static_cast<std::size_t>(rank)][tensor] == right) continue;
      throw comm::SharedError(
          base::ErrorKind::numerics,
          "the weights of " + ranks.rank_text(rank) + " differ from those of most ranks in " +
              parameters.specs()[tensor].name +
              ": memory or a processor is at fault; no checkpoint was written, the one before is "
              "good");
    }
  }
}

StepTotals StepMeeting::meet(const StepTotals& own) {
  const double values[] = {own.loss, own.tokens, own.norm_squared, own.compute_seconds,
                           static_cast<double>(own.signal)};
  const std::vector<double> all = ranks_.gather_values(values);
  StepTotals totals;
  for (std::size_t rank = 0; rank < seconds_.size(); ++rank) {
    const double* of = all.data() + rank * std::size(values);
    totals.loss += of[0];
    totals.tokens += of[1];
    totals.norm_squared += of[2];
    totals.compute_seconds = std::max(totals.compute_seconds, of[3]);
    if (totals.signal == 0) totals.signal = static_cast<int>(of[4]);
    seconds_[rank] += of[3];
  }
  ++steps_;
  return totals;
}

std::string StepMeeting::straggler() {
  if (ranks_.size() == 1 || steps_ == 0) return "";
  std::vector<double> sorted = seconds_;
  std::ranges::sort(sorted);
  const double median = sorted[(sorted.size() - 1) / 2];  // of two the faster
  const auto slowest = std::ranges::max_element(seconds_);
  char text[160];
  std::snprintf(text, sizeof(text), ": %.3g s of compute a step, %.0f %% above the median",
                *slowest / static_cast<double>(steps_), 100.0 * (*slowest / median - 1.0));
  const std::string line =
      "slowest " + ranks_.rank_text(static_cast<int>(slowest - seconds_.begin())) + text;
  std::ranges::fill(seconds_, 0.0);
  steps_ = 0;
  return line;
}

}  // namespace ssmax::train
