#include "corpus/loader.h"

#include <sys/resource.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "base/checked.h"
#include "base/errors.h"
#include "base/hash.h"
#include "corpus/manifest.h"

namespace ssmax::corpus {

namespace {

using base::Error;
using base::ErrorKind;

void check(const LoaderOptions& options) {
  const auto require = [](bool holds, const std::string& message) {
    if (!holds) throw Error(ErrorKind::usage, message);
  };
  require(!options.files.empty(), "no shards are named; set data.train, or data.validation");
  require(options.sequence_length > 0, "data.sequence_length must be at least 1, found " +
                                           std::to_string(options.sequence_length));
  require(options.batch_sequences > 0, "a batch must have at least 1 sequence, found " +
                                           std::to_string(options.batch_sequences));
  require(options.vocab_size > 0,
          "the vocabulary must have at least 1 token, found " + std::to_string(options.vocab_size));
  require(options.ranks > 0 && options.rank >= 0 && options.rank < options.ranks,
          "rank " + std::to_string(options.rank) + " is not below the number of ranks " +
              std::to_string(options.ranks));
}

/// Every shard stays open, and a large data set has more of them than the usual soft limit of 1024.
void allow_open_files(std::size_t count) {
  rlimit limit{};
  const std::size_t others = 256;
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= count + others) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

std::string hash_of(const std::vector<Shard>& shards) {
  constexpr std::int64_t kBlocks = 16;
  constexpr std::int64_t kBlockBytes = 4096;
  base::Hasher hasher;
  std::vector<std::byte> block;
  for (const Shard& shard : shards) {
    const std::string name = shard.path().filename().string();
    const std::int64_t size = shard.bytes();
    hasher.update(name + " " + std::to_string(size) + "\n");
    // The first block holds the header, the last one the end of the file.
    for (std::int64_t i = 0; i < kBlocks; ++i) {
      const std::int64_t last = std::max<std::int64_t>(size - kBlockBytes, 0);
      // Whole part and remainder apart: the product of a large size and i must not overflow.
      const std::int64_t offset =
          last / (kBlocks - 1) * i + last % (kBlocks - 1) * i / (kBlocks - 1);
      block.resize(static_cast<std::size_t>(std::min(kBlockBytes, size)));
      shard.read_bytes(block, offset);
      hasher.update(block);
    }
  }
  return hasher.hex();
}

}  // namespace

LoaderOptions sequential_loader(const DataConfig& data, const std::vector<std::string>& files,
                                std::int64_t vocab_size, std::int64_t batch_sequences) {
  LoaderOptions options;
  options.files = files;
  options.sequence_length = data.sequence_length;
  options.batch_sequences = batch_sequences;
  options.vocab_size = vocab_size;
  options.order = Order::sequential;
  options.document_mask = data.document_mask;
  return options;
}

Loader::Loader(const LoaderOptions& options) : options_(options) {
  check(options_);
  const std::vector<std::filesystem::path> files = expand_globs(options_.files);
  allow_open_files(files.size());
  for (const std::filesystem::path& path : files) shards_.emplace_back(path);
  first_sample_.push_back(0);
  for (const Shard& shard : shards_) {
    tokens_ += shard.tokens();
    first_sample_.push_back(first_sample_.back() + (shard.tokens() - 1) / options_.sequence_length);
  }
  samples_ = first_sample_.back();
  const std::int64_t batch = base::checked_product(options_.batch_sequences, options_.ranks);
  if (samples_ < batch) {
    throw Error(ErrorKind::data,
                shards_.front().path().string() + (shards_.size() > 1 ? " and others" : "") +
                    ": one batch needs " + std::to_string(batch) + " sequences of " +
                    std::to_string(options_.sequence_length) + " + 1 tokens, found " +
                    std::to_string(tokens_) + " tokens in " + std::to_string(shards_.size()) +
                    " shards, which give " + std::to_string(samples_) +
                    "; prepare more text or make the batch smaller");
  }
  if (options_.document_mask && options_.end_of_text < 0) {
    options_.end_of_text = default_end_of_text(shards_.front());
  }
  fingerprint_ = hash_of(shards_);
  thread_ = std::thread(&Loader::run, this);
}

Loader::~Loader() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

Batch Loader::next() {
  wait();
  if (ahead_.position != position_ || ahead_.error) {
    request(position_);
    wait();
  }
  if (ahead_.error) std::rethrow_exception(ahead_.error);
  std::swap(current_, ahead_);
  Batch batch;
  batch.sequences = options_.batch_sequences;
  batch.length = options_.sequence_length;
  batch.position = current_.position + options_.rank * options_.batch_sequences;
  batch.tokens = current_.tokens;
  batch.targets = current_.targets;
  batch.first_key = current_.first_key;
  position_ += options_.batch_sequences * options_.ranks;
  request(position_);
  return batch;
}

void Loader::seek(std::int64_t position) {
  if (position < 0 || position > std::numeric_limits<std::int64_t>::max() / 2) {
    throw Error(ErrorKind::usage,
                "the data position " + std::to_string(position) + " is out of range");
  }
  position_ = position;
}

void Loader::fill(Buffer& buffer) const {
  const auto size = static_cast<std::size_t>(options_.batch_sequences * options_.sequence_length);
  buffer.tokens.resize(size);
  buffer.targets.resize(size);
  buffer.first_key.resize(options_.document_mask ? size : 0);
  std::vector<std::int32_t> window(static_cast<std::size_t>(options_.sequence_length + 1));
  for (std::int64_t row = 0; row < options_.batch_sequences; ++row) {
    read_sample(buffer, window, row);
  }
}

void Loader::read_sample(Buffer& buffer, std::vector<std::int32_t>& window,
                         std::int64_t row) const {
  const std::int64_t global = buffer.position + options_.rank * options_.batch_sequences + row;
  const std::int64_t index = global % samples_;
  const std::int64_t sample =
      options_.order == Order::sequential
          ? index
          : shuffled_index(options_.seed, global / samples_, index, samples_);
  const auto after = std::upper_bound(first_sample_.begin(), first_sample_.end(), sample);
  const std::int64_t shard = after - first_sample_.begin() - 1;
  const std::int64_t within = sample - first_sample_[static_cast<std::size_t>(shard)];
  shards_[static_cast<std::size_t>(shard)].read(window, within * options_.sequence_length,
                                                options_.vocab_size);

  const std::int64_t begin = row * options_.sequence_length;
  std::copy(window.begin(), window.end() - 1, buffer.tokens.begin() + begin);
  std::copy(window.begin() + 1, window.end(), buffer.targets.begin() + begin);
  if (!options_.document_mask) return;
  std::int32_t first = 0;
  for (std::int64_t t = 0; t < options_.sequence_length; ++t) {
    if (window[static_cast<std::size_t>(t)] == options_.end_of_text) {
      first = static_cast<std::int32_t>(t);
    }
    buffer.first_key[static_cast<std::size_t>(begin + t)] = first;
  }
}

void Loader::request(std::int64_t position) {
  {
    const std::lock_guard lock(mutex_);
    ahead_.position = position;
    requested_ = true;
  }
  changed_.notify_all();
}

void Loader::wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !requested_; });
}

void Loader::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return requested_ || stop_; });
    if (stop_) return;
    lock.unlock();
    ahead_.error = nullptr;
    try {
      fill(ahead_);
    } catch (...) {
      ahead_.error = std::current_exception();
    }
    lock.lock();
    requested_ = false;
    changed_.notify_all();
  }
}

std::int64_t default_end_of_text(const Shard& shard) {
  const auto folder = shard.path().parent_path();
  if (const auto manifest = read_manifest(folder.empty() ? "." : folder)) {
    return manifest->end_of_text;
  }
  return shard.type() == TokenType::uint16 ? 50256 : 128000;
}

}  // namespace ssmax::corpus
