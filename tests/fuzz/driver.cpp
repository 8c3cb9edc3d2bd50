#include "fuzz/driver.h"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string_view>

#include "base/clock.h"
#include "base/random.h"

/// Present in a program built with a sanitizer; called before it ends the program.
extern "C" void __sanitizer_set_death_callback(void (*callback)()) __attribute__((weak));

namespace ssmax::fuzz {
namespace {

/// No single input may take longer; a hang is a finding. Far above what a loaded machine adds.
constexpr double kMaxSecondsPerInput = 10.0;

std::uint64_t current_seed = 0;
std::uint64_t current_iteration = 0;
const char* current_file = nullptr;

/// How to see the same input again.
void say_input() {
  if (current_file != nullptr) {
    std::fprintf(stderr, "fuzz: the input is the file %s\n", current_file);
  } else {
    std::fprintf(stderr, "fuzz: repeat with --seed %llu --only %llu\n",
                 static_cast<unsigned long long>(current_seed),
                 static_cast<unsigned long long>(current_iteration));
  }
}

void on_signal(int signal) {
  say_input();
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

/// Random numbers of one input: a pure function of (seed, iteration).
class Dice {
 public:
  Dice(std::uint64_t seed, std::uint64_t iteration) : seed_(seed), iteration_(iteration) {}

  std::uint64_t bits() { return base::random_bits(seed_, iteration_, count_++); }
  /// In [0, end); 0 when end is 0.
  std::size_t below(std::size_t end) {
    return end == 0 ? 0 : static_cast<std::size_t>(bits() % end);
  }

 private:
  std::uint64_t seed_;
  std::uint64_t iteration_;
  std::uint64_t count_ = 0;
};

constexpr std::string_view kTokens[] = {"{",
                                        "}",
                                        "[",
                                        "]",
                                        "\"",
                                        ":",
                                        ",",
                                        "\\u0000",
                                        "\\ud800",
                                        "null",
                                        "true",
                                        "1e400",
                                        "-0",
                                        "1.9",
                                        "4294967297",
                                        "9223372036854775808",
                                        "18446744073709551616",
                                        "\xEF\xBB\xBF",
                                        "\xFF",
                                        "[[[[[[[[[[[[[[[[",
                                        "{\"a\":{\"a\":",
                                        "//",
                                        "NaN",
                                        "..",
                                        "=",
                                        "\n"};

constexpr std::uint64_t kNumbers[] = {0,
                                      1,
                                      0x7F,
                                      0x80,
                                      0xFF,
                                      0xFFFF,
                                      0x7FFFFFFF,
                                      0x80000000,
                                      0xFFFFFFFF,
                                      0x100000000,
                                      0x7FFFFFFFFFFFFFFF,
                                      0x8000000000000000,
                                      0xFFFFFFFFFFFFFFFF};

/// One change of `text`, of a kind that breaks readers: bits, lengths, offsets, nesting.
void mutate(std::string& text, Dice& dice, const std::vector<std::string>& corpus) {
  constexpr std::size_t kMaxBytes = 1 << 16;
  const std::size_t at = dice.below(text.size() + 1);
  const std::size_t length = dice.below(std::min<std::size_t>(text.size() - at, 64) + 1);
  switch (dice.below(10)) {
    case 0:
      if (at < text.size()) text[at] = static_cast<char>(text[at] ^ (1 << dice.below(8)));
      return;
    case 1:
      if (at < text.size()) text[at] = static_cast<char>(dice.bits());
      return;
    case 2:
      text.erase(at, length);
      return;
    case 3:
      text.insert(at, text.substr(at, length));
      return;
    case 4:
      text.insert(at, kTokens[dice.below(std::size(kTokens))]);
      return;
    case 5: {
      const std::string_view token = kTokens[dice.below(std::size(kTokens))];
      text.replace(at, std::min(token.size(), text.size() - at), token);
      return;
    }
    case 6: {  // a little-endian number of 1, 2, 4 or 8 bytes
      const std::uint64_t number = kNumbers[dice.below(std::size(kNumbers))];
      const std::size_t bytes = std::size_t{1} << dice.below(4);
      for (std::size_t i = 0; i < bytes && at + i < text.size(); ++i) {
        text[at + i] = static_cast<char>(number >> (8 * i));
      }
      return;
    }
    case 7:
      text.resize(at);
      return;
    case 8: {  // the end of another seed
      const std::string& other = corpus[dice.below(corpus.size())];
      text.resize(at);
      text += other.substr(dice.below(other.size() + 1));
      return;
    }
    case 9:
      if (text.size() < kMaxBytes) {
        const std::string part = text.substr(at, length);
        for (std::size_t i = dice.below(100); i > 0; --i) text.insert(at, part);
      }
      return;
    default:
      return;
  }
}

std::string input_of(std::uint64_t seed, std::uint64_t iteration,
                     const std::vector<std::string>& corpus) {
  if (iteration < corpus.size()) return corpus[iteration];
  Dice dice(seed, iteration);
  std::string text = corpus[dice.below(corpus.size())];
  for (std::size_t count = 1 + dice.below(6); count > 0; --count) mutate(text, dice, corpus);
  return text;
}

void run(const std::string& input) {
  // A copy of its own, so that a sanitizer sees a read beyond the end.
  const std::vector<std::uint8_t> bytes(input.begin(), input.end());
  const base::Stopwatch watch;
  try {
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  } catch (const std::exception& error) {
    finding(std::string("an exception left the target: ") + error.what());
  }
  if (watch.seconds() > kMaxSecondsPerInput) {
    finding("the input took " + std::to_string(watch.seconds()) + " seconds");
  }
}

std::string content(const char* path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_seeds(const std::filesystem::path& folder, const std::vector<std::string>& corpus) {
  std::filesystem::create_directories(folder);
  for (std::size_t i = 0; i < corpus.size(); ++i) {
    std::ofstream(folder / ("seed_" + std::to_string(i)), std::ios::binary) << corpus[i];
  }
}

int usage() {
  std::fputs(
      "usage: NAME_fuzz [--seed S] [--iterations N] [--seconds S] [--only ITERATION]\n"
      "                 [--write-seeds FOLDER] [FILE...]\n"
      "Runs mutations of the built-in seeds until N or S is reached, or the files once.\n",
      stderr);
  return 2;
}

}  // namespace

int run_driver(int count, char** arguments) {
  std::uint64_t iterations = 100'000;
  double seconds = 1e9;
  std::uint64_t only = ~std::uint64_t{0};
  std::vector<const char*> files;
  const std::vector<std::string> corpus = seeds();
  for (int i = 1; i < count; ++i) {
    const std::string_view name = arguments[i];
    if (!name.starts_with("--")) {
      files.push_back(arguments[i]);
      continue;
    }
    if (++i == count) return usage();
    const char* value = arguments[i];
    if (name == "--seed") {
      current_seed = std::strtoull(value, nullptr, 10);
    } else if (name == "--iterations") {
      iterations = std::strtoull(value, nullptr, 10);
    } else if (name == "--seconds") {
      seconds = std::strtod(value, nullptr);
    } else if (name == "--only") {
      only = std::strtoull(value, nullptr, 10);
    } else if (name == "--write-seeds") {
      write_seeds(value, corpus);
      return 0;
    } else {
      return usage();
    }
  }
  for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL}) {
    std::signal(signal, on_signal);
  }
  if (__sanitizer_set_death_callback != nullptr) __sanitizer_set_death_callback(&say_input);

  for (const char* file : files) {
    current_file = file;
    run(content(file));
  }
  if (!files.empty()) return 0;
  if (only != ~std::uint64_t{0}) {
    current_iteration = only;
    const std::string input = input_of(current_seed, only, corpus);
    std::fwrite(input.data(), 1, input.size(), stdout);
    std::fflush(stdout);
    run(input);
    return 0;
  }
  const base::Stopwatch watch;
  std::uint64_t done = 0;
  for (; done < iterations && watch.seconds() < seconds; ++done) {
    current_iteration = done;
    run(input_of(current_seed, done, corpus));
  }
  std::fprintf(stderr, "fuzz: %llu inputs in %.1f s, seed %llu, nothing found\n",
               static_cast<unsigned long long>(done), watch.seconds(),
               static_cast<unsigned long long>(current_seed));
  return 0;
}

}  // namespace ssmax::fuzz

int main(int count, char** arguments) { return ssmax::fuzz::run_driver(count, arguments); }
