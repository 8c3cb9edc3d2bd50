#include "corpus/needle.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/errors.h"
#include "base/random.h"
#include "corpus/haystack.h"

namespace ssmax::corpus {

namespace {

constexpr std::array<std::string_view, 48> kTrainCities = {
    "Paris",     "London",   "Berlin",   "Madrid",   "Rome",      "Vienna",   "Prague",
    "Warsaw",    "Lisbon",   "Dublin",   "Oslo",     "Athens",    "Cairo",    "Boston",
    "Chicago",   "Denver",   "Houston",  "Dallas",   "Seattle",   "Toronto",  "Montreal",
    "Sydney",    "Perth",    "Delhi",    "Mumbai",   "Bangkok",   "Manila",   "Jakarta",
    "Beijing",   "Shanghai", "Moscow",   "Kiev",     "Istanbul",  "Tehran",   "Baghdad",
    "Nairobi",   "Lagos",    "Lima",     "Bogota",   "Havana",    "Geneva",   "Zurich",
    "Amsterdam", "Brussels", "Budapest", "Helsinki", "Edinburgh", "Melbourne"};
constexpr std::array<std::string_view, 24> kTestCities = {
    "Tokyo",   "Osaka",     "Kyoto",     "Seoul",    "Singapore", "Hanoi",  "Dubai",   "Doha",
    "Milan",   "Naples",    "Venice",    "Munich",   "Hamburg",   "Lyon",   "Seville", "Porto",
    "Glasgow", "Liverpool", "Stockholm", "Santiago", "Quito",     "Ottawa", "Phoenix", "Atlanta"};

constexpr std::uint64_t kCityStream = base::random_stream("needle city");
constexpr std::uint64_t kNumberStream = base::random_stream("needle number");
constexpr std::uint64_t kSplitStream = base::random_stream("needle split");
constexpr std::uint64_t kDepthStream = base::random_stream("needle depth");
constexpr std::int64_t kSmallest = 1'000'000;  // seven digits
constexpr std::int64_t kNumbers = 9'000'000;

/// How far a needle moves towards the beginning to stand between two sentences: tokens, and a share
/// of the text.
constexpr std::size_t kReach = 48;
constexpr std::size_t kReachShare = 8;

/// The beginning of a sentence near in front of `wanted`, else of a word, else `wanted`.
std::size_t gap_before(const Tokenizer& tokenizer, std::span<const std::int32_t> text,
                       std::size_t wanted) {
  if (wanted == text.size()) return wanted;
  const std::size_t least = wanted - std::min({wanted, kReach, text.size() / kReachShare});
  for (std::size_t at = wanted + 1; at-- > least;) {
    if (starts_sentence(tokenizer, text, at)) return at;
  }
  for (std::size_t at = wanted + 1; at-- > least;) {
    if (starts_word(tokenizer, text, at)) return at;
  }
  return wanted;
}

}  // namespace

double random_depth(std::uint64_t seed, std::uint64_t index) {
  return base::random_uniform(seed, kDepthStream, index);
}

std::span<const std::string_view> needle_cities(NeedleSplit split) {
  if (split == NeedleSplit::train) return kTrainCities;
  return kTestCities;
}

NeedleSplit split_of_number(std::int64_t number) {
  // One in eight is for the test.
  return base::random_bits(0, kSplitStream, static_cast<std::uint64_t>(number)) % 8 == 0
             ? NeedleSplit::test
             : NeedleSplit::train;
}

Needle random_needle(NeedleSplit split, std::uint64_t seed, std::uint64_t index) {
  const auto cities = needle_cities(split);
  Needle needle;
  needle.city = cities[base::random_bits(seed, kCityStream, index) % cities.size()];
  for (std::uint64_t draw = 0; needle.number == 0 || split_of_number(needle.number) != split;
       ++draw) {
    const std::uint64_t bits = base::random_bits(seed ^ (draw << 32), kNumberStream, index);
    needle.number = kSmallest + static_cast<std::int64_t>(bits % kNumbers);
  }
  return needle;
}

NeedleWriter::NeedleWriter(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

NeedleWriter::Parts NeedleWriter::parts_of(const Needle& needle) const {
  const std::string statement = "The special magic " + needle.city + " number is:";
  Parts parts;
  tokenizer_.encode(parts.sentence, std::string(1, ' ').append(statement));
  parts.digits.begin = parts.sentence.size();
  const std::string answer = needle.answer();
  tokenizer_.encode(parts.sentence, std::string_view(answer).substr(0, answer.size() - 1));
  parts.digits.end = parts.sentence.size();
  tokenizer_.encode(parts.sentence, ".");
  tokenizer_.encode(parts.question, "\n\nWhat is the special magic " + needle.city +
                                        " number? Answer: " + statement);
  return parts;
}

std::int64_t NeedleWriter::own_tokens(const Needle& needle) const {
  const Parts parts = parts_of(needle);
  return std::ssize(parts.sentence) + std::ssize(parts.question) + 1;
}

NeedlePrompt NeedleWriter::write(std::span<const std::int32_t> haystack, const Needle& needle,
                                 double depth, std::int64_t tokens) const {
  const Parts parts = parts_of(needle);
  const std::int64_t room = tokens - std::ssize(parts.sentence) - std::ssize(parts.question) - 1;
  if (room < 0) {
    throw base::Error(base::ErrorKind::usage,
                      "a context of " + std::to_string(tokens) +
                          " tokens has no room for a needle and its question, which take " +
                          std::to_string(tokens - room));
  }
  if (room > std::ssize(haystack)) {
    throw base::Error(base::ErrorKind::data, "the haystack has " + std::to_string(haystack.size()) +
                                                 " tokens, needed are " + std::to_string(room));
  }
  haystack = haystack.first(static_cast<std::size_t>(room));
  const auto wanted = static_cast<std::size_t>(std::llround(depth * static_cast<double>(room)));
  const std::size_t at = gap_before(tokenizer_, haystack, wanted);

  NeedlePrompt prompt;
  prompt.tokens.reserve(static_cast<std::size_t>(tokens));
  const auto append = [&](std::span<const std::int32_t> part) {
    prompt.tokens.insert(prompt.tokens.end(), part.begin(), part.end());
  };
  prompt.tokens.push_back(tokenizer_.end_of_text());
  append(haystack.first(at));
  prompt.needle.begin = prompt.tokens.size();
  append(parts.sentence);
  prompt.needle.end = prompt.tokens.size();
  append(haystack.subspan(at));
  append(parts.question);
  prompt.digits = {prompt.needle.begin + parts.digits.begin,
                   prompt.needle.begin + parts.digits.end};
  return prompt;
}

}  // namespace ssmax::corpus
