#include "corpus/tokenizer_train.h"

#include "corpus/corpus_fixture.h"

namespace ssmax::corpus {
namespace {

using base::ErrorKind;

TEST(TrainTokenizer, makes_the_merges_of_plain_python) {
  PreTokenCounts counts;
  counts.add(read_all(golden("training.txt")));
  std::int64_t reports = 0;
  const Tokenizer trained =
      train_tokenizer(counts, 580, "trained", [&](std::int64_t) { ++reports; });
  EXPECT_EQ(reports, 323);
  EXPECT_EQ(trained.vocab_size(), 580);
  const Tokenizer expected = Tokenizer::load(golden(""));
  EXPECT_EQ(trained.vocabulary().tokens, expected.vocabulary().tokens);
  EXPECT_EQ(trained.hash(), expected.hash());
}

TEST(TrainTokenizer, counts_added_in_parts_are_the_counts_of_the_whole) {
  const std::string text = read_all(golden("training.txt"));
  PreTokenCounts whole, first, second;
  whole.add(text);
  const std::size_t cut = text.find("\n\n");
  second.add(std::string_view(text).substr(cut));
  first.add(std::string_view(text).substr(0, cut));
  second.add(first);
  EXPECT_EQ(second.total(), whole.total());
  EXPECT_EQ(second.unique(), whole.unique());
  EXPECT_EQ(train_tokenizer(second, 400, "x").hash(), train_tokenizer(whole, 400, "x").hash());
}

TEST(TrainTokenizer, counts_of_files_do_not_depend_on_the_number_of_threads) {
  const TemporaryFolder folder;
  const std::string text = read_all(golden("training.txt"));
  std::string lines = "{\"text\": \"a line of its own\"}\n";
  write_all(folder / "a.txt", text);
  write_all(folder / "b.jsonl", lines + lines);
  PreTokenCounts expected;
  expected.add(text);
  expected.add("a line of its own");
  expected.add("a line of its own");
  const std::vector<std::string> names = {folder.name("")};
  for (const int threads : {1, 3}) {
    std::int64_t done = 0;
    const Inputs inputs = find_inputs(names);
    const PreTokenCounts counts =
        count_pre_tokens(inputs, threads, [&](std::int64_t bytes) { done = bytes; });
    EXPECT_EQ(done, inputs.bytes);
    EXPECT_EQ(counts.total(), expected.total());
    EXPECT_EQ(train_tokenizer(counts, 500, "x").hash(), train_tokenizer(expected, 500, "x").hash());
  }
}

TEST(TrainTokenizer, stops_when_no_pair_occurs_twice) {
  PreTokenCounts counts;
  counts.add("aaaa aaaa");
  // "aa", "aaaa", and then " aaaa" occurs once only.
  const Tokenizer trained = train_tokenizer(counts, 1000, "short");
  EXPECT_EQ(trained.vocab_size(), 259);
  EXPECT_EQ(trained.token(256), "aa");
  EXPECT_EQ(trained.token(257), "aaaa");
  EXPECT_EQ(trained.end_of_text(), 258);
}

TEST(TrainTokenizer, refuses_sizes_and_texts_that_make_no_sense) {
  PreTokenCounts counts;
  expect_contains(error_of(ErrorKind::data, [&] { train_tokenizer(counts, 300, "x"); }), "no text");
  counts.add("text");
  expect_contains(error_of(ErrorKind::usage, [&] { train_tokenizer(counts, 256, "x"); }), "257");
  EXPECT_EQ(train_tokenizer(counts, 257, "x").vocab_size(), 257);
}

}  // namespace
}  // namespace ssmax::corpus
