#include "corpus/prepare.h"

#include "base/hash.h"
#include "corpus/corpus_fixture.h"
#include "corpus/documents.h"
#include "corpus/shard.h"

namespace ssmax::corpus {
namespace {

using base::ErrorKind;
using Ids = std::vector<std::int32_t>;

Ids read_tokens(const std::filesystem::path& path) {
  const Shard shard(path);
  Ids tokens(static_cast<std::size_t>(shard.tokens()));
  shard.read(tokens, 0, 1 << 17);
  return tokens;
}

class PrepareTest : public testing::Test {
 protected:
  PrepareTest() {
    std::filesystem::create_directories(folder_ / "texts/deep");
    write_all(folder_ / "texts/b.txt", "second");
    write_all(folder_ / "texts/a.txt", "first");
    write_all(folder_ / "texts/deep/c.md", "third");
    write_all(folder_ / "texts/.hidden", "hidden");
    write_all(folder_ / "texts/binary", std::string("bin\0ary", 7));
    write_all(folder_ / "texts/empty.txt", "");
    std::filesystem::create_symlink("a.txt", folder_ / "texts/link.md");
    write_all(folder_ / "lines.jsonl",
              "{\"text\": \"one\\n\"}\n\n{\"id\": 7, \"text\": \"t\\u00e9\"}\r\n{\"text\": \"\"}\n"
              "{\"text\": \"last\"}");
    options_.out = folder_ / "out";
    options_.threads = 2;
  }

  std::string text_of(const std::string& shard) const {
    return bytes_.decode(read_tokens(folder_ / shard));
  }

  TemporaryFolder folder_;
  Tokenizer bytes_ = Tokenizer::byte_level();
  PrepareOptions options_;
};

TEST_F(PrepareTest, a_file_counts_once) {
  options_.inputs = {folder_.name("texts"), folder_.name("texts/deep/../a.txt")};
  const std::vector<std::string> once = {options_.inputs.front()};
  EXPECT_EQ(find_inputs(options_.inputs).bytes, find_inputs(once).bytes);
  EXPECT_EQ(prepare(bytes_, options_).train.documents, 3);
  options_.out = folder_ / "other";
  options_.validation = {folder_.name("texts/deep/c.md")};
  expect_contains(error_of(ErrorKind::data, [&] { prepare(bytes_, options_); }),
                  "c.md: is among the texts for training");
  EXPECT_FALSE(std::filesystem::exists(options_.out));
}

TEST_F(PrepareTest, end_of_text_stands_in_front_of_each_document) {
  options_.inputs = {folder_.name("lines.jsonl"), folder_.name("texts")};
  const Manifest manifest = prepare(bytes_, options_);
  EXPECT_EQ(text_of("out/train_000000.bin"),
            "<|endoftext|>one\n<|endoftext|>t\xC3\xA9<|endoftext|>last"
            "<|endoftext|>first<|endoftext|>second<|endoftext|>third");
  EXPECT_EQ(manifest.train.documents, 6);
  EXPECT_EQ(manifest.train.text_bytes, 4 + 3 + 4 + 5 + 6 + 5);
  EXPECT_EQ(manifest.train.tokens, manifest.train.text_bytes + 6);
  EXPECT_TRUE(manifest.validation.files.empty());
  EXPECT_EQ(manifest.skipped_files, 1);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "out.partial"));
}

TEST_F(PrepareTest, the_folder_describes_itself) {
  options_.inputs = {folder_.name("texts/*.txt")};
  options_.shard_tokens = 5;
  const Manifest written = prepare(bytes_, options_);
  const std::optional<Manifest> read = read_manifest(folder_ / "out");
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->tokenizer_hash, bytes_.hash());
  EXPECT_EQ(read->vocab_size, 257);
  EXPECT_EQ(read->end_of_text, 256);
  EXPECT_EQ(Tokenizer::load(folder_ / "out").hash(), bytes_.hash());
  ASSERT_EQ(read->train.files.size(), 3U);
  std::string text;
  for (const ManifestFile& file : read->train.files) {
    const std::string content = read_all(folder_ / ("out/" + file.file));
    EXPECT_EQ(file.bytes, std::ssize(content));
    EXPECT_EQ(file.xxh3_128, base::hash_hex(content));
    text += text_of("out/" + file.file);
  }
  EXPECT_EQ(read->train.files[0].tokens, 5);
  EXPECT_EQ(read->train.files[2].tokens, 3);
  EXPECT_EQ(read->train.files[2].file, "train_000002.bin");
  EXPECT_EQ(text, "<|endoftext|>first<|endoftext|>second");
}

TEST_F(PrepareTest, the_files_do_not_depend_on_the_number_of_threads) {
  // Text longer than a piece, so that a document is cut and joined again, and many lines.
  std::string text, lines;
  const std::string varied = read_all(golden("varied.txt"));
  while (text.size() < (5U << 19)) text += varied;
  write_all(folder_ / "long.txt", text);
  for (int i = 0; i < 20000; ++i) {
    lines += "{\"text\": \"line " + std::to_string(i * 7919 % 10007) + " of many\"}\n";
  }
  write_all(folder_ / "many.jsonl", lines);
  const Tokenizer tokenizer = Tokenizer::load(golden(""));
  options_.inputs = {folder_.name("long.txt"), folder_.name("many.jsonl")};
  options_.validation_fraction = 0.25;
  options_.shard_tokens = 300000;
  std::vector<std::string> manifests;
  for (const int threads : {1, 2, 5}) {
    options_.threads = threads;
    options_.out = folder_ / ("out" + std::to_string(threads));
    std::int64_t done = 0, total = 0;
    prepare(tokenizer, options_, [&](std::int64_t now, std::int64_t all) {
      EXPECT_GT(now, done);
      done = now;
      total = all;
    });
    EXPECT_EQ(done, total);
    manifests.push_back(read_all(options_.out / "manifest.json"));
    EXPECT_EQ(manifests.back(), manifests.front()) << threads << " threads";
  }

  // The pieces of the long text are the ids of the whole.
  const Manifest manifest = *read_manifest(folder_ / "out1");
  const auto& split =
      manifest.train.tokens > manifest.validation.tokens ? manifest.train : manifest.validation;
  Ids tokens;
  for (const ManifestFile& file : split.files) {
    const Ids part = read_tokens(folder_ / ("out1/" + file.file));
    tokens.insert(tokens.end(), part.begin(), part.end());
  }
  const Ids expected = tokenizer.encode(text);
  ASSERT_GT(tokens.size(), expected.size());
  EXPECT_TRUE(std::equal(expected.begin(), expected.end(), tokens.begin() + 1));
  // 20000 lines, each for validation with probability 0.25; but 10007 different ones count, and
  // the bound is 5 deviations of sqrt(10007 x 0.25 x 0.75) = 43 lines, each twice.
  EXPECT_NEAR(static_cast<double>(manifest.validation.documents), 5000, 5 * 2 * 43 + 1);
}

TEST_F(PrepareTest, validation_inputs_are_for_validation) {
  options_.inputs = {folder_.name("texts/a.txt")};
  options_.validation = {folder_.name("texts/b.txt")};
  const Manifest manifest = prepare(bytes_, options_);
  EXPECT_EQ(text_of("out/train_000000.bin"), "<|endoftext|>first");
  EXPECT_EQ(text_of("out/val_000000.bin"), "<|endoftext|>second");
  EXPECT_EQ(manifest.validation.documents, 1);
}

TEST_F(PrepareTest, a_bad_line_is_an_error_with_file_and_line_and_leaves_no_folder) {
  for (const char* bad : {"{\"text\": 5}", "{\"txt\": \"a\"}", "[1]", "{\"text\": \"a\"", "\"a\"",
                          "{\"text\": \"a\", \"text\": \"b\"}", "{\"text\": \"\xFF\"}"}) {
    write_all(folder_ / "bad.jsonl", std::string("{\"text\": \"a\"}\n\n") + bad + "\n");
    options_.inputs = {folder_.name("bad.jsonl")};
    const std::string message = error_of(ErrorKind::data, [&] { prepare(bytes_, options_); });
    expect_contains(message, "bad.jsonl:3:");
    EXPECT_FALSE(std::filesystem::exists(options_.out));
    EXPECT_FALSE(std::filesystem::exists(folder_ / "out.partial"));
  }
}

TEST_F(PrepareTest, refuses_options_that_make_no_sense) {
  const auto message = [&](ErrorKind kind) {
    return error_of(kind, [&] { prepare(bytes_, options_); });
  };
  expect_contains(message(ErrorKind::usage), "name at least one input");
  options_.inputs = {folder_.name("missing*")};
  expect_contains(message(ErrorKind::data), "no file matches");
  options_.inputs = {folder_.name("texts/empty.txt")};
  expect_contains(message(ErrorKind::data), "empty");
  options_.inputs = {folder_.name("texts/a.txt")};
  options_.validation_fraction = 1.0;
  expect_contains(message(ErrorKind::usage), "fraction");
  options_.validation_fraction = 0.5;
  options_.validation = {folder_.name("texts/b.txt")};
  expect_contains(message(ErrorKind::usage), "not both");
  options_.validation = {};
  options_.validation_fraction = 0.0;
  options_.shard_tokens = 0;
  expect_contains(message(ErrorKind::usage), "at least 1 token");
  options_.shard_tokens = 100;
  options_.out = folder_ / "texts";
  expect_contains(message(ErrorKind::usage), "not an empty folder");
  options_.inputs = {folder_.name("texts/empty.txt"), folder_.name("white.jsonl")};
  write_all(folder_ / "white.jsonl", "\n{\"text\": \"\"}\n");
  options_.out = folder_ / "out";
  expect_contains(message(ErrorKind::data), "no text for training is left");
}

TEST_F(PrepareTest, an_interrupted_run_is_begun_again) {
  std::filesystem::create_directories(folder_ / "out.partial");
  write_all(folder_ / "out.partial/train_000007.bin", "left over");
  std::filesystem::create_directories(folder_ / "out");
  options_.inputs = {folder_.name("texts/a.txt")};
  prepare(bytes_, options_);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "out/train_000007.bin"));
  EXPECT_TRUE(std::filesystem::exists(folder_ / "out/train_000000.bin"));
}

TEST(PieceReader, pieces_of_any_size_join_to_the_text_and_cut_no_pre_token) {
  const TemporaryFolder folder;
  const std::string text = read_all(golden("varied.txt")) + read_all(golden("invalid.bin"));
  write_all(folder / "a.txt", text);
  const Tokenizer tokenizer = Tokenizer::load(golden(""));
  const Ids expected = tokenizer.encode(text);
  const std::vector<std::string> names = {folder.name("a.txt")};
  const Inputs inputs = find_inputs(names);
  for (const std::int64_t bytes : {1, 2, 3, 5, 16, 100, 1000, 100000}) {
    PieceReader reader(inputs.files, bytes);
    std::string joined;
    Ids ids;
    while (const std::optional<Piece> piece = reader.next()) {
      EXPECT_EQ(piece->starts_document, joined.empty());
      joined += piece->bytes;
      tokenizer.encode(ids, piece->bytes);
    }
    EXPECT_EQ(joined, text) << bytes;
    EXPECT_EQ(ids, expected) << bytes;
  }
}

TEST(PieceReader, pieces_of_lines_know_their_line) {
  const TemporaryFolder folder;
  std::vector<std::string> names;
  for (const char* name : {"a.jsonl", "b.jsonl"}) {
    std::string lines;
    for (int i = 0; i < 40; ++i) lines += "{\"text\": \"line " + std::to_string(i) + "\"}\n\n";
    write_all(folder / name, lines);
    names.push_back(folder.name(name));
  }
  const Inputs inputs = find_inputs(names);
  PieceReader reader(inputs.files, 100);
  const Input* input = nullptr;
  std::int64_t line = 1;
  while (const std::optional<Piece> piece = reader.next()) {
    if (piece->input != input) line = 1;
    input = piece->input;
    EXPECT_EQ(piece->line, line);
    line += std::count(piece->bytes.begin(), piece->bytes.end(), '\n');
    EXPECT_LE(line, 81);
  }
  EXPECT_EQ(line, 81);
}

TEST(DocumentHash, is_of_the_beginning) {
  const std::string front(64 << 10, 'a');
  EXPECT_EQ(document_hash(front + "b"), document_hash(front + "cd"));
  EXPECT_NE(document_hash("b"), document_hash("c"));
}

TEST(LastSafeCut, is_in_front_of_white_space_after_something_else) {
  EXPECT_EQ(last_safe_cut("ab cd"), 2U);
  EXPECT_EQ(last_safe_cut("ab  \n"), 2U);
  EXPECT_EQ(last_safe_cut("ab cd e"), 5U);
  EXPECT_EQ(last_safe_cut("abcd"), 0U);
  EXPECT_EQ(last_safe_cut("  "), 0U);
  EXPECT_EQ(last_safe_cut(""), 0U);
  EXPECT_EQ(last_safe_cut("a\xE3\x80\x80 b"), 0U) << "U+3000 is white space too";
  EXPECT_EQ(last_safe_cut("\xE4\xB8\x96 b"), 3U);
  EXPECT_EQ(last_safe_cut("a\xFF b"), 2U);
}

}  // namespace
}  // namespace ssmax::corpus
