#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "app/evaluate/evaluate.h"
#include "corpus/loader.h"

namespace ssmax::app {

/// Which sequences a task reads.
struct SequenceOptions {
  std::vector<std::string> data;     // empty: data.validation of the checkpoint's config
  std::int64_t sequence_length = 0;  // 0: the training length
  bool documents = false;

  /// Adds --data and --documents.
  void add_to(CLI::App& task);

  const std::vector<std::string>& shards(const OpenModel& open) const;
  std::int64_t length(const OpenModel& open) const;
  /// `how` is data of the checkpoint's config; its kind counts unless --data or --documents says
  /// otherwise. Error(usage) without data, Error(data) also where it has fewer than `sequences`.
  corpus::Loader loader(const OpenModel& open, corpus::DataConfig how, std::int64_t batch,
                        std::int64_t sequences) const;
};

}  // namespace ssmax::app
