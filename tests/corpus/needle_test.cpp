#include "corpus/needle.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "corpus/corpus_fixture.h"
#include "corpus/haystack.h"

namespace ssmax::corpus {
namespace {

using base::ErrorKind;

TEST(Needle, training_and_test_share_nothing) {
  std::set<std::string> cities[2];
  std::set<std::int64_t> numbers[2];
  for (const NeedleSplit split : {NeedleSplit::train, NeedleSplit::test}) {
    const auto which = static_cast<std::size_t>(split);
    for (std::uint64_t i = 0; i < 2000; ++i) {
      const Needle needle = random_needle(split, 5, i);
      EXPECT_EQ(needle.digits().size(), 7U);
      EXPECT_EQ(split_of_number(needle.number), split);
      cities[which].insert(needle.city);
      numbers[which].insert(needle.number);
    }
    EXPECT_EQ(cities[which].size(), needle_cities(split).size());
    EXPECT_GT(numbers[which].size(), 1900U);
  }
  for (const std::string& city : cities[0]) EXPECT_FALSE(cities[1].contains(city)) << city;
  for (const std::int64_t number : numbers[0]) EXPECT_FALSE(numbers[1].contains(number));
}

class HaystackTest : public testing::Test {
 protected:
  HaystackTest() {
    std::string text;
    for (int i = 0; i < 100; ++i)
      text += (i == 0 ? "Day " : " Day ") + std::to_string(i) + " was dry.";
    write_all(folder_ / "long.txt", text);
    write_all(folder_ / "short.txt", "Brief.");
  }

  TemporaryFolder folder_;
  Tokenizer tokenizer_ = Tokenizer::byte_level();
};

TEST_F(HaystackTest, slices_begin_with_a_sentence_of_a_document_that_is_long_enough) {
  const Haystack haystack(
      std::vector<std::string>{folder_.name("short.txt"), folder_.name("long.txt")}, tokenizer_);
  EXPECT_EQ(haystack.documents(), 2);
  std::set<std::string> different;
  for (std::uint64_t i = 0; i < 40; ++i) {
    const std::string text = tokenizer_.decode(haystack.slice(200, 3, i));
    EXPECT_EQ(text.size(), 200U);
    EXPECT_TRUE(text.starts_with("Day ") || text.starts_with(" Day ")) << text;
    EXPECT_EQ(text, tokenizer_.decode(haystack.slice(200, 3, i)));
    different.insert(text);
  }
  EXPECT_GT(different.size(), 20U);
  error_of(ErrorKind::data, [&] { haystack.slice(haystack.tokens() + 1, 3, 0); });
}

TEST_F(HaystackTest, needles_stand_between_sentences_near_their_depth) {
  const Haystack haystack(std::vector<std::string>{folder_.name("long.txt")}, tokenizer_);
  const NeedleWriter writer(tokenizer_);
  const Needle needle{"Tokyo", 8106422};
  const std::string sentence = " The special magic Tokyo number is: 8106422.";
  const std::string question =
      "\n\nWhat is the special magic Tokyo number? Answer: The special magic Tokyo number is:";
  const auto text = haystack.slice(900, 1, 1);
  for (const double depth : {0.0, 0.1, 0.5, 0.9, 1.0}) {
    const NeedlePrompt prompt = writer.write(text, needle, depth, 900);
    ASSERT_EQ(prompt.tokens.size(), 900U);
    EXPECT_EQ(prompt.tokens.front(), tokenizer_.end_of_text());
    const auto part = [&](TokenSpan span) {
      return tokenizer_.decode(std::span(prompt.tokens).subspan(span.begin, span.end - span.begin));
    };
    EXPECT_EQ(part(prompt.needle), sentence);
    EXPECT_EQ(part(prompt.digits), " 8106422");
    const std::string whole = tokenizer_.decode(prompt.tokens);
    EXPECT_TRUE(whole.ends_with(question));
    const double room = 899.0 - static_cast<double>(sentence.size() + question.size());
    const auto before = static_cast<double>(prompt.needle.begin - 1);
    EXPECT_LE(before, std::round(depth * room));
    EXPECT_GE(before, depth * room - 49);
    if (depth > 0.0 && depth < 1.0) {
      EXPECT_EQ(part({prompt.needle.begin - 1, prompt.needle.begin}), ".");
    }
  }
  error_of(ErrorKind::usage, [&] { writer.write(text, needle, 0.5, 100); });
  error_of(ErrorKind::data, [&] { writer.write(text, needle, 0.5, 2000); });
}

}  // namespace
}  // namespace ssmax::corpus
