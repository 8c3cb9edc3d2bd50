#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "corpus/manifest.h"
#include "corpus/tokenizer.h"

namespace ssmax::corpus {

struct PrepareOptions {
  std::vector<std::string> inputs;      // text files, folders, globs, JSON Lines: find_inputs()
  std::vector<std::string> validation;  // inputs that are for validation as a whole
  double validation_fraction = 0.0;     // of the documents of `inputs`, chosen by document_hash()
  std::filesystem::path out;            // a folder that is not there yet, or empty
  std::int64_t shard_tokens = 100'000'000;
  int threads = 0;  // 0: all cores
};

/// Told the bytes of input done so far and in all.
using PrepareProgress = std::function<void(std::int64_t done, std::int64_t total)>;

/// Encodes documents into out/train_000000.bin, ... and out/val_000000.bin, ... with
/// out/manifest.json and out/tokenizer.json. The end-of-text token goes in front of each document,
/// as in the shards of llm.c; documents without text are left out. Documents may cross from one
/// shard into the next. The files depend on the inputs and options, not on the number of threads.
///
/// OUT is complete or not there: see base::PartialFolder.
/// Returns the manifest. Error(data) for bad input, with file and line; Error(disk) for the disk.
Manifest prepare(const Tokenizer& tokenizer, const PrepareOptions& options,
                 const PrepareProgress& progress = {});

}  // namespace ssmax::corpus
