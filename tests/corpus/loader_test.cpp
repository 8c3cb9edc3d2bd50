#include "corpus/loader.h"

#include <sys/resource.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <set>

#include "corpus/corpus_fixture.h"
#include "corpus/manifest.h"
#include "support/shards.h"

namespace ssmax::corpus {
namespace {

using base::ErrorKind;
using support::write_shard;
using Ids = std::vector<std::int32_t>;

/// Three shards of 101, 57 and 40 tokens: with T = 8, samples 12 + 7 + 4 = 23. Token k of all of
/// them is k, so a sample tells where it came from.
class LoaderTest : public testing::Test {
 protected:
  LoaderTest() {
    std::int32_t next = 0;
    for (const int tokens : {101, 57, 40}) {
      Ids ids(static_cast<std::size_t>(tokens));
      std::iota(ids.begin(), ids.end(), next);
      next += tokens;
      write_shard(folder_ / ("train_" + std::to_string(shards_++) + ".bin"), ids);
    }
    options_.files = {folder_.name("train_*.bin")};
    options_.sequence_length = 8;
    options_.batch_sequences = 4;
    options_.vocab_size = 1000;
    options_.seed = 17;
  }

  /// First tokens of the rows of `batches` batches.
  static Ids rows(Loader& loader, int batches) {
    Ids first;
    for (int i = 0; i < batches; ++i) {
      const Batch batch = loader.next();
      for (std::int64_t row = 0; row < batch.sequences; ++row) {
        const auto at = static_cast<std::size_t>(row * batch.length);
        for (std::size_t t = 0; t < static_cast<std::size_t>(batch.length); ++t) {
          EXPECT_EQ(batch.tokens[at + t], batch.tokens[at] + static_cast<std::int32_t>(t));
          EXPECT_EQ(batch.targets[at + t], batch.tokens[at + t] + 1);
        }
        first.push_back(batch.tokens[at]);
      }
    }
    return first;
  }

  /// The first token of every sample, in order.
  static Ids all_samples() {
    Ids first;
    for (const auto& [begin, tokens] : {std::pair{0, 101}, {101, 57}, {158, 40}}) {
      for (int sample = 0; sample < (tokens - 1) / 8; ++sample) first.push_back(begin + 8 * sample);
    }
    return first;
  }

  TemporaryFolder folder_;
  int shards_ = 0;
  LoaderOptions options_;
};

TEST_F(LoaderTest, sequential_order_is_the_order_of_the_files) {
  options_.order = Order::sequential;
  options_.batch_sequences = 1;
  Loader loader(options_);
  EXPECT_EQ(loader.samples(), 23);
  EXPECT_EQ(loader.tokens(), 198);
  EXPECT_EQ(rows(loader, 23), all_samples());
  EXPECT_EQ(loader.position(), 23);
  EXPECT_EQ(loader.epoch(), 1);
  EXPECT_EQ(rows(loader, 1), Ids{0}) << "the next epoch starts again";
}

TEST_F(LoaderTest, an_epoch_visits_every_sample_once_and_each_in_another_order) {
  options_.batch_sequences = 1;
  Loader loader(options_);
  std::set<Ids> orders;
  for (int epoch = 0; epoch < 5; ++epoch) {
    Ids order = rows(loader, 23);
    orders.insert(order);
    std::sort(order.begin(), order.end());
    EXPECT_EQ(order, all_samples()) << "epoch " << epoch;
  }
  EXPECT_EQ(orders.size(), 5U);
  options_.seed = 18;
  Loader other(options_);
  EXPECT_FALSE(orders.contains(rows(other, 23)));
}

TEST_F(LoaderTest, seek_continues_as_if_never_stopped) {
  // 20 batches of 4 pass the ends of epochs, at 23, 46 and 69, inside of a batch.
  Loader whole(options_);
  const Ids expected = rows(whole, 20);
  for (std::int64_t stop = 0; stop <= 20; ++stop) {
    Loader first(options_);
    rows(first, static_cast<int>(stop));
    Loader resumed(options_);
    resumed.seek(first.position());
    EXPECT_EQ(resumed.position(), 4 * stop);
    EXPECT_EQ(rows(resumed, static_cast<int>(20 - stop)),
              Ids(expected.begin() + 4 * stop, expected.end()))
        << "stopped after batch " << stop;
  }
  whole.seek(0);
  EXPECT_EQ(rows(whole, 20), expected) << "back to the beginning";
  whole.seek(3);
  EXPECT_EQ(rows(whole, 2), Ids(expected.begin() + 3, expected.begin() + 11));
  error_of(ErrorKind::usage, [&] { whole.seek(-1); });
}

TEST_F(LoaderTest, global_batches_do_not_depend_on_the_number_of_ranks) {
  Loader alone(options_);
  const Ids expected = rows(alone, 15);
  for (const std::int64_t ranks : {1, 2, 4}) {
    options_.ranks = ranks;
    options_.batch_sequences = 4 / ranks;
    std::vector<std::unique_ptr<Loader>> loaders;
    for (options_.rank = 0; options_.rank < ranks; ++options_.rank) {
      loaders.push_back(std::make_unique<Loader>(options_));
    }
    Ids all;
    for (int batch = 0; batch < 15; ++batch) {
      for (const auto& loader : loaders) {
        const Ids part = rows(*loader, 1);
        all.insert(all.end(), part.begin(), part.end());
        EXPECT_EQ(loader->position(), 4 * (batch + 1));
      }
    }
    EXPECT_EQ(all, expected) << ranks << " ranks";
  }
}

TEST_F(LoaderTest, document_mask_gives_the_start_of_each_document) {
  const TemporaryFolder folder;
  //             row 0: 9 starts at 2 and 5     row 1: no document starts     row 2: at 0
  const Ids tokens = {1, 2, 9, 3, 4, 9, 9, 5, 6, 7, 8, 1, 2, 3, 4, 5, 9, 1, 1, 1, 1, 1, 1, 9, 9};
  write_shard(folder / "a.bin", tokens);
  options_.files = {folder.name("a.bin")};
  options_.order = Order::sequential;
  options_.batch_sequences = 3;
  options_.document_mask = true;
  options_.end_of_text = 9;
  Loader loader(options_);
  const Batch batch = loader.next();
  EXPECT_EQ(Ids(batch.first_key.begin(), batch.first_key.end()), (Ids{0, 0, 2, 2, 2, 5, 6, 6,  //
                                                                      0, 0, 0, 0, 0, 0, 0, 0,  //
                                                                      0, 0, 0, 0, 0, 0, 0, 7}));
}

TEST_F(LoaderTest, the_end_of_text_comes_from_the_manifest_or_the_format) {
  options_.document_mask = true;
  expect_contains(error_of(ErrorKind::data, [&] { Loader{options_}; }),
                  "whose id, 50256, is not below the vocabulary size 1000");
  options_.vocab_size = 50257;
  EXPECT_EQ(Loader(options_).end_of_text(), 50256);
  Manifest manifest;
  manifest.end_of_text = 256;
  write_manifest(folder_ / "", manifest);
  EXPECT_EQ(Loader(options_).end_of_text(), 256);
  const TemporaryFolder folder;
  write_shard(folder / "a.bin", Ids{1}, TokenType::uint32);
  EXPECT_EQ(default_end_of_text(Shard(folder / "a.bin")), 128000);
}

TEST_F(LoaderTest, fewer_samples_than_a_batch_is_an_error) {
  options_.batch_sequences = 24;
  expect_contains(error_of(ErrorKind::data, [&] { Loader{options_}; }),
                  "one batch needs 24 sequences of 8 + 1 tokens, found 198 tokens");
  options_.least_samples = 23;
  EXPECT_EQ(Loader(options_).next().sequences, 24);
  options_.least_samples = 24;
  expect_contains(error_of(ErrorKind::data, [&] { Loader{options_}; }),
                  "needed are 24 sequences of 8 + 1 tokens, found 198 tokens");
  options_.least_samples = 0;
  options_.batch_sequences = 12;
  options_.ranks = 2;
  error_of(ErrorKind::data, [&] { Loader{options_}; });
  options_ = {};
  error_of(ErrorKind::usage, [&] { Loader{options_}; });
}

TEST_F(LoaderTest, a_batch_of_exactly_one_epoch_is_possible) {
  options_.batch_sequences = 23;
  Loader loader(options_);
  Ids order = rows(loader, 1);
  std::sort(order.begin(), order.end());
  EXPECT_EQ(order, all_samples());
}

TEST_F(LoaderTest, an_id_outside_of_the_vocabulary_is_an_error_of_next) {
  options_.vocab_size = 150;
  options_.order = Order::sequential;
  Loader loader(options_);
  rows(loader, 4);  // tokens below 129
  const std::string message = error_of(ErrorKind::data, [&] { rows(loader, 3); });
  expect_contains(message, "train_1.bin");
  expect_contains(message, "vocabulary size 150");
}

TEST_F(LoaderTest, a_vocabulary_that_is_too_small_is_known_from_the_manifest) {
  Manifest manifest;
  manifest.vocab_size = options_.vocab_size + 1;
  write_manifest(folder_ / "", manifest);
  const std::string message = error_of(ErrorKind::data, [&] { Loader{options_}; });
  expect_contains(message, "manifest.json");
  expect_contains(message, "set model.vocab_size");
  options_.vocab_size += 1;
  Loader{options_};
  // Of every folder.
  const TemporaryFolder other;
  write_shard(other / "a.bin", Ids(100));
  options_.files.insert(options_.files.begin(), other.name("a.bin"));
  options_.vocab_size -= 1;
  error_of(ErrorKind::data, [&] { Loader{options_}; });
}

TEST_F(LoaderTest, more_shards_may_be_open_than_the_usual_limit) {
  rlimit usual{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &usual), 0);
  const rlimit low{100, usual.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
  Loader{options_};
  rlimit raised{};
  ::getrlimit(RLIMIT_NOFILE, &raised);
  ::setrlimit(RLIMIT_NOFILE, &usual);
  EXPECT_EQ(raised.rlim_cur, usual.rlim_max);
}

TEST_F(LoaderTest, a_folder_is_no_shard) {
  options_.files = {(folder_ / "").string()};
  expect_contains(error_of(ErrorKind::data, [&] { Loader{options_}; }), "is a folder");
}

TEST_F(LoaderTest, a_shard_that_shrinks_during_the_run_is_an_error_of_next) {
  options_.order = Order::sequential;
  Loader loader(options_);
  rows(loader, 1);
  std::filesystem::resize_file(folder_ / "train_2.bin", 1060);
  rows(loader, 3);
  expect_contains(error_of(ErrorKind::data, [&] { rows(loader, 5); }), "train_2.bin");
  const std::int64_t position = loader.position();
  error_of(ErrorKind::data, [&] { loader.next(); });
  EXPECT_EQ(loader.position(), position) << "an error does not advance";
  loader.seek(0);
  rows(loader, 1);
}

TEST_F(LoaderTest, the_fingerprint_tells_other_data_from_the_same) {
  const std::string before = Loader(options_).fingerprint();
  EXPECT_EQ(before.size(), 32U);
  options_.seed = 5;
  options_.batch_sequences = 2;
  EXPECT_EQ(Loader(options_).fingerprint(), before);

  const TemporaryFolder moved;
  for (int i = 0; i < 3; ++i) {
    const std::string name = "train_" + std::to_string(i) + ".bin";
    std::filesystem::copy(folder_ / name, moved / name);
  }
  options_.files = {moved.name("train_*.bin")};
  EXPECT_EQ(Loader(options_).fingerprint(), before) << "the folder does not count";

  write_shard(moved / "train_2.bin", Ids(40, 3));
  const std::string changed = Loader(options_).fingerprint();
  EXPECT_NE(changed, before) << "the content counts";
  std::filesystem::rename(moved / "train_2.bin", moved / "train_3.bin");
  EXPECT_NE(Loader(options_).fingerprint(), changed) << "the name counts";

  Ids many(20000);
  options_.files = {moved.name("many.bin")};
  std::set<std::string> fingerprints;
  for (const std::size_t place : {0, 10000, 19999}) {
    many[place] = 1;
    write_shard(moved / "many.bin", many);
    fingerprints.insert(Loader(options_).fingerprint());
  }
  EXPECT_EQ(fingerprints.size(), 3U) << "the middle and the end count";
}

TEST(ShuffledIndex, is_a_bijection_for_every_count) {
  for (const std::int64_t count : {1, 2, 3, 4, 5, 15, 16, 17, 100, 1000, 4097}) {
    std::vector<bool> seen(static_cast<std::size_t>(count));
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t to = shuffled_index(3, 2, i, count);
      ASSERT_GE(to, 0);
      ASSERT_LT(to, count);
      ASSERT_FALSE(seen[static_cast<std::size_t>(to)]) << count << " " << i;
      seen[static_cast<std::size_t>(to)] = true;
    }
  }
}

TEST(ShuffledIndex, large_counts_stay_inside) {
  const std::int64_t count = (1LL << 40) + 12345;
  std::set<std::int64_t> seen;
  for (std::int64_t i = 0; i < 1000; ++i) {
    const std::int64_t to = shuffled_index(3, 0, count - 1 - i, count);
    EXPECT_GE(to, 0);
    EXPECT_LT(to, count);
    seen.insert(to);
  }
  EXPECT_EQ(seen.size(), 1000U);
}

TEST(ShuffledIndex, spreads_evenly) {
  // Where 1000 neighbors go, over epochs: chi-squared of 20 bins with 19 degrees of freedom has a
  // mean of 19 and a deviation of 6.2; the bound is 5 deviations above.
  for (const std::uint64_t seed : {1U, 2U, 3U}) {
    std::vector<double> bins(20);
    for (std::int64_t epoch = 0; epoch < 20; ++epoch) {
      for (std::int64_t i = 0; i < 50; ++i) {
        ++bins[static_cast<std::size_t>(shuffled_index(seed, epoch, i, 100000) / 5000)];
      }
    }
    double chi_squared = 0;
    for (const double count : bins) chi_squared += (count - 50) * (count - 50) / 50;
    EXPECT_LT(chi_squared, 50.0) << "seed " << seed;
  }
}

TEST_F(LoaderTest, sequences_of_documents_lie_within_one_and_first_ones_come_first) {
  // End of text 0 in front of documents of 20, 9, 30 tokens: two, one and three sequences of 8 + 1.
  Ids ids;
  for (const int length : {20, 9, 30}) {
    ids.push_back(0);
    for (int i = 1; i < length; ++i) ids.push_back(static_cast<std::int32_t>(ids.size()));
  }
  write_shard(folder_ / "documents.bin", ids);
  options_.kind = DataKind::documents;
  options_.files = {folder_.name("documents.bin")};
  options_.end_of_text = 0;
  options_.order = Order::sequential;
  options_.batch_sequences = 6;
  Loader loader(options_);
  EXPECT_EQ(loader.samples(), 6);
  const Batch batch = loader.next();
  Ids first;
  for (std::size_t row = 0; row < 6; ++row) {
    first.push_back(batch.tokens[row * 8 + 1]);
    EXPECT_EQ(batch.targets[row * 8 + 7], batch.tokens[row * 8 + 6] + 2);
  }
  EXPECT_EQ(first, (Ids{1, 21, 30, 9, 38, 46}));
}

TEST_F(LoaderTest, examples_predict_their_completions) {
  write_all(folder_ / "train.jsonl",
            "{\"prompt\": \"ab\", \"completion\": \"c\"}\n\n"
            "{\"completion\": \"xyz\", \"prompt\": \"\"}\n");
  options_.kind = DataKind::supervised;
  options_.files = {folder_.name("train.jsonl")};
  options_.tokenizer = "bytes";
  options_.order = Order::sequential;
  options_.sequence_length = 5;
  options_.batch_sequences = 2;
  Loader loader(options_);
  EXPECT_EQ(loader.samples(), 2);
  EXPECT_EQ(loader.targets(2), 2 + 4);
  EXPECT_EQ(loader.targets(3), 2 + 4 + 2) << "the next epoch begins";
  loader.seek(1);
  EXPECT_EQ(loader.targets(1), 4);
  loader.seek(0);
  const Batch batch = loader.next();
  EXPECT_EQ(Ids(batch.tokens.begin(), batch.tokens.end()),
            (Ids{256, 'a', 'b', 'c', 256, 256, 'x', 'y', 'z', 256}));
  EXPECT_EQ(Ids(batch.targets.begin(), batch.targets.end()),
            (Ids{-1, -1, 'c', 256, -1, 'x', 'y', 'z', 256, -1}));
  const std::string fingerprint = loader.fingerprint();
  write_all(folder_ / "train.jsonl", "{\"prompt\": \"ab\", \"completion\": \"d\"}\n");
  options_.batch_sequences = 1;
  EXPECT_NE(Loader(options_).fingerprint(), fingerprint);
}

TEST_F(LoaderTest, examples_that_cannot_be_trained_on_name_file_and_line) {
  options_.kind = DataKind::supervised;
  options_.files = {folder_.name("train.jsonl")};
  options_.tokenizer = "bytes";
  options_.batch_sequences = 1;
  write_all(folder_ / "train.jsonl", "{\"prompt\": \"a\", \"completion\": \"b\"}\n");
  options_.vocab_size = 256;  // bytes and the end of text are 257
  expect_contains(error_of(ErrorKind::data, [&] { Loader loader(options_); }), "has 257 ids");
  options_.vocab_size = 257;
  for (const char* line : {"{\"prompt\": \"abcdefgh\", \"completion\": \"i\"}",
                           "{\"prompt\": \"a\"}", "{\"prompt\": \"a\", \"completion\": \"\"}"}) {
    write_all(folder_ / "train.jsonl", std::string("\n") + line + "\n");
    const std::string message = error_of(ErrorKind::data, [&] { Loader loader(options_); });
    EXPECT_NE(message.find("train.jsonl:2: "), std::string::npos) << message;
  }
}

}  // namespace
}  // namespace ssmax::corpus
