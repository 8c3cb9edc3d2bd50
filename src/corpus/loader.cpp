#include "corpus/loader.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/checked.h"
#include "base/errors.h"

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

std::variant<ShardSamples, SupervisedSamples> open(
    const LoaderOptions& options, const std::vector<std::filesystem::path>& files) {
  if (options.kind == DataKind::supervised) {
    const Tokenizer tokenizer = Tokenizer::named(options.tokenizer);
    if (tokenizer.vocab_size() > options.vocab_size) {
      throw Error(ErrorKind::data, "data.tokenizer " + tokenizer.name() + " has " +
                                       std::to_string(tokenizer.vocab_size()) + " ids, the model " +
                                       std::to_string(options.vocab_size));
    }
    return SupervisedSamples(files, tokenizer, options.sequence_length);
  }
  const auto cut = options.kind == DataKind::documents ? ShardSamples::Cut::documents
                                                       : ShardSamples::Cut::stream;
  return ShardSamples(files, options.sequence_length, options.vocab_size, options.end_of_text, cut);
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
  options.kind = data.kind;
  options.tokenizer = data.tokenizer;
  return options;
}

Loader::Loader(const LoaderOptions& options) : options_(options) {
  check(options_);
  const std::vector<std::filesystem::path> files = expand_globs(options_.files);
  source_.emplace(open(options_, files));
  std::visit(
      [this](const auto& source) {
        samples_ = source.samples();
        tokens_ = source.tokens();
        fingerprint_ = source.fingerprint();
        options_.end_of_text = source.end_of_text();
      },
      *source_);
  const bool by_documents = options_.document_mask || options_.kind == DataKind::documents;
  if (by_documents && options_.end_of_text >= options_.vocab_size) {
    throw Error(ErrorKind::data,
                files.front().string() +
                    ": no document begins in it: expected the end-of-text token in front of each, "
                    "whose id, " +
                    std::to_string(options_.end_of_text) + ", is not below the vocabulary size " +
                    std::to_string(options_.vocab_size) +
                    "; a manifest.json beside the shards names another, as `ssmax prepare` writes "
                    "it");
  }
  const std::int64_t batch = options_.least_samples > 0
                                 ? options_.least_samples
                                 : base::checked_product(options_.batch_sequences, options_.ranks);
  if (samples_ < batch) {
    const char* of = options_.kind == DataKind::stream      ? " + 1 tokens"
                     : options_.kind == DataKind::documents ? " + 1 tokens of one document"
                                                            : " tokens, one for each example";
    const bool whole_batch = options_.least_samples == 0;
    throw Error(ErrorKind::data,
                files.front().string() + (files.size() > 1 ? " and others" : "") + ": " +
                    (whole_batch  ? "one batch needs "
                     : batch == 1 ? "needed is "
                                  : "needed are ") +
                    std::to_string(batch) + (batch == 1 ? " sequence of " : " sequences of ") +
                    std::to_string(options_.sequence_length) + of + ", found " +
                    std::to_string(tokens_) + " tokens in " + std::to_string(files.size()) +
                    (files.size() == 1 ? " file" : " files") + ", which give " +
                    std::to_string(samples_) + "; prepare more text or " +
                    (whole_batch ? "make the batch smaller" : "ask for fewer or shorter ones"));
  }
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

std::int64_t Loader::targets(std::int64_t count) const {
  if (options_.kind != DataKind::supervised) {
    return base::checked_product(count, options_.sequence_length);
  }
  std::int64_t sum = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    sum += std::get<SupervisedSamples>(*source_).targets(sample_at(position_ + i));
  }
  return sum;
}

std::int64_t Loader::sample_at(std::int64_t global) const {
  const std::int64_t index = global % samples_;
  return options_.order == Order::sequential
             ? index
             : shuffled_index(options_.seed, global / samples_, index, samples_);
}

void Loader::fill(Buffer& buffer) const {
  const auto size = static_cast<std::size_t>(options_.batch_sequences * options_.sequence_length);
  buffer.tokens.resize(size);
  buffer.targets.resize(size);
  buffer.first_key.resize(options_.document_mask ? size : 0);
  const auto length = static_cast<std::size_t>(options_.sequence_length);
  for (std::int64_t row = 0; row < options_.batch_sequences; ++row) {
    const std::int64_t global = buffer.position + options_.rank * options_.batch_sequences + row;
    const std::size_t begin = static_cast<std::size_t>(row) * length;
    const std::span tokens = std::span(buffer.tokens).subspan(begin, length);
    std::visit(
        [&](const auto& source) {
          source.read(tokens, std::span(buffer.targets).subspan(begin, length), sample_at(global));
        },
        *source_);
    if (options_.document_mask) {
      mark_documents(std::span(buffer.first_key).subspan(begin, length), tokens);
    }
  }
}

void Loader::mark_documents(std::span<std::int32_t> first_key,
                            std::span<const std::int32_t> tokens) const {
  std::int32_t first = 0;
  for (std::size_t t = 0; t < tokens.size(); ++t) {
    if (tokens[t] == options_.end_of_text) first = static_cast<std::int32_t>(t);
    first_key[t] = first;
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

}  // namespace ssmax::corpus
