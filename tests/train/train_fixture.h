#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/config.h"
#include "base/random.h"
#include "corpus/manifest.h"
#include "support/files.h"
#include "support/shards.h"
#include "train/run_config.h"

namespace ssmax::train {

using support::read_all;

inline std::int32_t token_of(std::int64_t phase) {
  return static_cast<std::int32_t>(base::random_bits(1, 2, static_cast<std::uint64_t>(phase)) % 61);
}

/// A shard of `tokens` ids below 61 that repeat themselves, so that there is something to learn.
inline void write_tokens(const std::filesystem::path& path, std::int64_t tokens) {
  std::vector<std::int32_t> ids;
  for (std::int64_t i = 0; i < tokens; ++i) ids.push_back(token_of(i % 97));
  support::write_shard(path, ids);
}

/// Documents begin with one of these tokens then.
inline void write_manifest(const std::filesystem::path& folder) {
  corpus::Manifest manifest;
  manifest.vocab_size = 61;
  manifest.end_of_text = token_of(5);
  corpus::write_manifest(folder, manifest);
}

/// A run of a few seconds in `folder`, which must hold train.bin and val.bin.
inline RunConfig small_run(const std::filesystem::path& folder,
                           const std::vector<std::string>& overrides = {}) {
  std::vector<std::string> all = {"--data.train=" + (folder / "train.bin").string(),
                                  "--data.validation=" + (folder / "val.bin").string()};
  all.insert(all.end(), overrides.begin(), overrides.end());
  return base::parse_config<RunConfig>(
             R"({"name": "test", "seed": 3,
                 "model": {"vocab_size": 61, "num_hidden_layers": 2, "num_attention_heads": 2,
                           "hidden_size": 16, "intermediate_size": 24,
                           "normalizer": {"kind": "ssmax"}},
                 "data": {"sequence_length": 16},
                 "optimizer": {"learning_rate": 3e-3},
                 "schedule": {"kind": "cosine", "warmup_steps": 3},
                 "training": {"steps": 12, "batch_sequences": 4, "micro_batch_sequences": 2,
                              "precision": "fp32", "threads": 1},
                 "checkpoint": {"every_steps": 3, "keep": 9},
                 "validation": {"every_steps": 4, "batches": 2}})",
             "test", all)
      .resolved();
}

}  // namespace ssmax::train
