#include "corpus/tokenizer.h"

#include <algorithm>
#include <random>

#include "base/utf8.h"
#include "corpus/corpus_fixture.h"
#include "corpus/splitter.h"

namespace ssmax::corpus {
namespace {

using base::ErrorKind;
using Ids = std::vector<std::int32_t>;

const Tokenizer& small() {
  static const Tokenizer tokenizer = Tokenizer::load(golden(""));
  return tokenizer;
}

TEST(Tokenizer, gives_the_ids_of_plain_python_on_varied_text) {
  EXPECT_EQ(small().vocab_size(), 580);
  EXPECT_EQ(small().end_of_text(), 579);
  EXPECT_EQ(small().encode(read_all(golden("varied.txt"))), golden_ids("small_ids.txt"));
}

TEST(Tokenizer, gives_the_ids_of_plain_python_on_bytes_that_are_not_utf8) {
  EXPECT_EQ(small().encode(read_all(golden("invalid.bin"))), golden_ids("invalid_ids.txt"));
}

TEST(Tokenizer, gives_the_ids_of_tiktoken_with_the_vocabulary_of_gpt2) {
  const char* data = std::getenv("SSMAX_TEST_DATA");
  if (data == nullptr) GTEST_SKIP() << "needs SSMAX_TEST_DATA/gpt2 with encoder.json, vocab.bpe";
  const Tokenizer gpt2 = Tokenizer::load(std::filesystem::path(data) / "gpt2");
  EXPECT_EQ(gpt2.vocab_size(), 50257);
  EXPECT_EQ(gpt2.end_of_text(), 50256);
  EXPECT_EQ(gpt2.name(), "gpt2");
  const std::string text = read_all(golden("varied.txt"));
  EXPECT_EQ(gpt2.encode(text), golden_ids("gpt2_ids.txt"));
  EXPECT_EQ(gpt2.decode(gpt2.encode(text)), text);

  // The same vocabulary by way of our own files.
  const TemporaryFolder folder;
  gpt2.save(folder / "saved");
  EXPECT_EQ(Tokenizer::load(folder / "saved").hash(), gpt2.hash());
}

TEST(Tokenizer, byte_level_ids_are_the_bytes) {
  const Tokenizer bytes = Tokenizer::named("bytes");
  EXPECT_EQ(bytes.vocab_size(), 257);
  EXPECT_EQ(bytes.end_of_text(), 256);
  EXPECT_EQ(bytes.encode(std::string("A\0\xFF", 3)), (Ids{65, 0, 255}));
  EXPECT_EQ(bytes.decode(Ids{72, 105, 256}), "Hi<|endoftext|>");
}

/// With more ids than a line of the encoder's cache holds, and many words for each line.
TEST(Tokenizer, words_of_every_length_come_back_from_the_cache) {
  std::string text;
  for (int round = 0; round < 2; ++round) {
    for (int word = 0; word < 1000; ++word) {
      text += ' ';
      for (int i = 0; i < 3 + word % 13; ++i) {
        text += static_cast<char>('a' + (word * (i + 1) + word / 26) % 26);
      }
    }
  }
  EXPECT_EQ(Tokenizer::byte_level().encode(text), Ids(text.begin(), text.end()));
}

TEST(Tokenizer, of_two_special_tokens_the_longer_is_taken) {
  Vocabulary vocabulary = Tokenizer::byte_level().vocabulary();
  for (const char* text : {"<|a|>", "<|a|><|b|>"}) {
    vocabulary.special.push_back({text, static_cast<std::int32_t>(vocabulary.tokens.size())});
    vocabulary.tokens.emplace_back(text);
  }
  const Tokenizer tokenizer(vocabulary);
  EXPECT_EQ(tokenizer.encode("<|a|><|b|>x<|a|>", SpecialText::recognized), (Ids{258, 'x', 257}));
}

TEST(Tokenizer, the_text_of_a_special_token_is_text_unless_asked) {
  const std::string text = "a<|endoftext|>b<|endoftext";
  const Ids ordinary = small().encode(text);
  EXPECT_EQ(std::count(ordinary.begin(), ordinary.end(), small().end_of_text()), 0);
  EXPECT_EQ(small().decode(ordinary), text);
  const Ids special = small().encode(text, SpecialText::recognized);
  EXPECT_EQ(std::count(special.begin(), special.end(), small().end_of_text()), 1);
  EXPECT_EQ(special[1], small().end_of_text());
  EXPECT_EQ(small().decode(special), text);
  EXPECT_TRUE(small().is_special(small().end_of_text()));
  EXPECT_FALSE(small().is_special(0));
}

TEST(Tokenizer, decode_gives_back_random_bytes) {
  // Bytes drawn from few values make long pre-tokens, from many values invalid UTF-8.
  for (const std::uint32_t seed : {1U, 2U, 3U, 4U, 5U, 6U}) {
    std::mt19937 random(seed);
    const std::string alphabets[] = {"a", "ab", " \n\ta", "the sand ",
                                     "\xE2\x82\xAC\xF0\x9F\x98\x80 a'"};
    Encoder encoder(small());
    for (int round = 0; round < 200; ++round) {
      std::string text(random() % 300, '\0');
      const std::size_t choice = random() % 6;
      for (char& byte : text) {
        byte = choice == 5 ? static_cast<char>(random())
                           : alphabets[choice][random() % alphabets[choice].size()];
      }
      Ids ids;
      encoder.encode(ids, text);
      ASSERT_EQ(small().decode(ids), text) << "seed " << seed << " round " << round;
      ASSERT_EQ(small().encode(text), ids)
          << "what the encoder remembers changes the ids; seed " << seed << " round " << round;
    }
  }
}

/// The definition: merge the leftmost pair of lowest rank, one at a time.
Ids merged_slowly(const Vocabulary& vocabulary, std::string_view text) {
  Ids ids;
  for (const char byte : text) {
    for (std::size_t id = 0; id < vocabulary.tokens.size(); ++id) {
      if (vocabulary.tokens[id] == std::string(1, byte))
        ids.push_back(static_cast<std::int32_t>(id));
    }
  }
  for (bool merged = true; merged;) {
    merged = false;
    for (const Merge& merge : vocabulary.merges) {
      for (std::size_t i = 0; i + 1 < ids.size() && !merged; ++i) {
        if (ids[i] != merge.left || ids[i + 1] != merge.right) continue;
        ids[i] = merge.result;
        ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(i) + 1);
        merged = true;
      }
      if (merged) break;
    }
  }
  return ids;
}

TEST(Tokenizer, pre_tokens_of_every_length_follow_the_definition) {
  // Lengths around 16 and 64, where the encoder changes its way of merging.
  for (const std::uint32_t seed : {1U, 2U, 3U}) {
    std::mt19937 random(seed);
    for (std::size_t length = 1; length <= 140; length += length < 70 ? 1 : 17) {
      std::string text(length, 'e');
      for (char& byte : text) byte = "thenrsa"[random() % 7];
      ASSERT_EQ(small().encode(text), merged_slowly(small().vocabulary(), text))
          << "seed " << seed << " length " << length;
    }
  }
}

TEST(Tokenizer, a_megabyte_without_a_cut_takes_no_quadratic_time) {
  const std::string text(1 << 20, 'e');
  const Ids ids = small().encode(text);
  EXPECT_EQ(small().decode(ids), text);
}

TEST(Tokenizer, an_id_outside_of_the_vocabulary_is_an_error) {
  for (const std::int32_t id : {-1, 580}) {
    expect_contains(error_of(ErrorKind::data, [&] { small().decode(Ids{id}); }),
                    "not below the vocabulary size 580");
  }
}

TEST(Tokenizer, files_written_are_read_back_the_same) {
  const TemporaryFolder folder;
  for (const Tokenizer& tokenizer : {small(), Tokenizer::byte_level()}) {
    tokenizer.save(folder / "saved");
    EXPECT_EQ(Tokenizer::load(folder / "saved").hash(), tokenizer.hash());
    EXPECT_EQ(Tokenizer::load(folder / "saved/tokenizer.json").hash(), tokenizer.hash());
    EXPECT_EQ(Tokenizer::load(folder / "saved").name(), "saved");
    std::filesystem::remove(folder / "saved/tokenizer.json");
    EXPECT_EQ(Tokenizer::load(folder / "saved").hash(), tokenizer.hash());
  }
  EXPECT_NE(small().hash(), Tokenizer::byte_level().hash());
}

TEST(Tokenizer, lines_may_end_as_on_windows) {
  const TemporaryFolder folder;
  small().save(folder / "");
  std::filesystem::remove(folder / "tokenizer.json");
  std::string lines;
  for (const char c : read_all(folder / "merges.txt"))
    lines += c == '\n' ? "\r\n" : std::string(1, c);
  write_all(folder / "merges.txt", lines);
  EXPECT_EQ(Tokenizer::load(folder / "").hash(), small().hash());
}

TEST(Tokenizer, the_hash_tells_texts_and_merges_apart) {
  const auto hash_of = [](const std::vector<const char*>& tokens, bool exchanged) {
    Vocabulary vocabulary = small().vocabulary();
    vocabulary.tokens.insert(vocabulary.tokens.end(), tokens.begin(), tokens.end());
    if (exchanged) std::swap(vocabulary.merges[0], vocabulary.merges[1]);
    return Tokenizer(vocabulary).hash();
  };
  EXPECT_EQ(hash_of({"!!!", "!"}, false), hash_of({"!!!", "!"}, false));
  EXPECT_NE(hash_of({"!!!", "!"}, false), hash_of({"!!", "!!"}, false));
  EXPECT_NE(hash_of({}, false), hash_of({}, true));
}

TEST(Tokenizer, a_merge_gives_its_two_texts) {
  Vocabulary vocabulary = small().vocabulary();
  std::swap(vocabulary.merges[0].left, vocabulary.merges[0].right);
  expect_contains(error_of(ErrorKind::data, [&] { Tokenizer tokenizer(vocabulary); }), "merge 0");
}

TEST(Splitter, cuts_as_gpt2_does) {
  const auto cut = [](std::string_view text) {
    std::vector<std::string> parts;
    Splitter splitter;
    splitter.split(text, [&](std::string_view part) { parts.emplace_back(part); });
    return parts;
  };
  using Parts = std::vector<std::string>;
  EXPECT_EQ(cut("I'll say  'hi' 42 times!\n\n ok \n"),
            (Parts{"I", "'ll", " say", " ", " '", "hi", "'", " 42", " times", "!", "\n\n", " ok",
                   " \n"}));
  EXPECT_EQ(cut("IT'LL"), (Parts{"IT", "'", "LL"}));
  // U+0085 is white space and U+180E is none, whatever PCRE2 thinks.
  EXPECT_EQ(cut("a\xC2\x85"
                "b"),
            (Parts{"a", "\xC2\x85", "b"}));
  EXPECT_EQ(cut("a \xE1\xA0\x8E"
                "b"),
            (Parts{"a", " \xE1\xA0\x8E", "b"}));
  EXPECT_EQ(cut("a\xFF\xFE"
                "b  "),
            (Parts{"a", "\xFF\xFE", "b", "  "}));
  EXPECT_EQ(cut(""), Parts{});
  // White_Space of Unicode, and three that look like it.
  const auto white = [](char32_t c) {
    return (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
           c == 0x205F || c == 0x3000;
  };
  for (char32_t c = 1; c < 0x3010; ++c) {
    EXPECT_EQ(is_white_space(c), white(c)) << static_cast<unsigned>(c);
    if (!white(c) && c != 0x180E && c != 0x200B && c != 0x2060) continue;
    std::string text = "!";
    base::append_utf8(text, c);
    EXPECT_EQ(cut(text).size(), white(c) ? 2U : 1U) << static_cast<unsigned>(c);
  }
}

/// A vocabulary file as it should be, to be damaged.
std::string good_json() {
  const TemporaryFolder folder;
  small().write_json(folder / "tokenizer.json");
  return read_all(folder / "tokenizer.json");
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

TEST(Tokenizer, a_damaged_tokenizer_json_is_an_error_with_its_place) {
  struct Case {
    std::string from, to, message;
  };
  const std::vector<Case> cases = {
      {"\"BPE\"", "\"WordPiece\"", "only byte-level BPE"},
      {"\"dropout\": null", "\"dropout\": 0.1", "model.dropout"},
      {"\"dropout\": null", "\"ignore_merges\": true", "model.ignore_merges"},
      {"\"add_prefix_space\": false", "\"add_prefix_space\": true", "add_prefix_space"},
      {"\"use_regex\": true", "\"use_regex\": false", "use_regex"},
      {"\"normalizer\": null", "\"normalizer\": {\"type\": \"NFC\"}", "normalizer"},
      {"\"ByteLevel\"", "\"Whitespace\"", "pre_tokenizer"},
      {"\"a\": 64", "\"a\": 65", "two tokens have the id 65"},
      {"\"a\": 64", "\"a\": 640", "no token has the id 64"},
      {"\"a\": 64", "\"a\": -1", "expected an id"},
      {"\"a\": 64", "\"a\": 99999999999", "expected an id"},
      {"\"a\": 64", "\"a\": 1.5", "expected the id"},
      {"\"a\": 64", "\"aa\": 64", "lacks"},
      {"\"<|endoftext|>\": 579", "\"<|endoftext|>\": 580", "the vocabulary says 580"},
      {"\"merges\": [", "\"merges\": [\n\"t h e\",", "expected two tokens"},
      {"\"merges\": [", "\"merges\": [\n\"the\",", "expected two tokens"},
      {"\"merges\": [", "\"merges\": [\n7,", "expected a merge"},
      {"\"merges\": [", "\"merges\": [\n\"a zq\",", "lacks"},
      {"\"merges\": [", "\"merges\": [\n[\"h\", \"e\"], [\"h\", \"e\"],", "repeats"},
      {"\"content\": \"<|endoftext|>\"", "\"content\": \"<|end|>\"", "another token"},
  };
  const TemporaryFolder folder;
  for (const Case& damage : cases) {
    write_all(folder / "t.json", replaced(good_json(), damage.from, damage.to));
    const std::string message =
        error_of(ErrorKind::data, [&] { Tokenizer::load(folder / "t.json"); });
    expect_contains(message, damage.message);
    expect_contains(message, "t.json");
  }
  write_all(folder / "t.json", good_json().substr(0, 2000));
  error_of(ErrorKind::data, [&] { Tokenizer::load(folder / "t.json"); });
}

TEST(Tokenizer, a_merge_line_in_error_is_named) {
  const TemporaryFolder folder;
  std::filesystem::copy(golden("vocab.json"), folder / "vocab.json");
  write_all(folder / "merges.txt", "#version: 0.2\nh e\nbad\n");
  expect_contains(error_of(ErrorKind::data, [&] { Tokenizer::load(folder / ""); }),
                  "merges.txt:3: expected two tokens");
}

TEST(Tokenizer, a_folder_without_a_tokenizer_says_what_was_expected) {
  const TemporaryFolder folder;
  expect_contains(error_of(ErrorKind::data, [&] { Tokenizer::load(folder / ""); }),
                  "expected tokenizer.json");
  expect_contains(error_of(ErrorKind::data, [&] { Tokenizer::named(folder.name("nothing")); }),
                  "there is no such tokenizer");
}

}  // namespace
}  // namespace ssmax::corpus
