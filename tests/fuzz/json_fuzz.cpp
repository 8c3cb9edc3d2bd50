#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/config.h"
#include "base/config_fixture.h"
#include "base/strict_json.h"
#include "base/text.h"
#include "fuzz/driver.h"

namespace ssmax::fuzz {
namespace {

/// Runs `work`; an Error must be one line that a person can read.
template <class Work>
bool succeeds(const Work& work) {
  try {
    work();
    return true;
  } catch (const base::Error& error) {
    const std::string_view message = error.what();
    if (error.kind() != base::ErrorKind::usage) finding("an error of another kind");
    if (message.find('\n') != std::string_view::npos) finding("a message of several lines");
    if (message.size() > 4000) finding("a message of " + std::to_string(message.size()));
    return false;
  }
}

/// What is taken is what the library takes, and is the same after a trip through text.
void check_parsing(std::string_view text) {
  base::JsonValue value;
  if (!succeeds([&] { value = parse_json_value(text, "f", base::ErrorKind::usage); })) return;
  const std::string written = to_text(value);
  if (nlohmann::json::parse(written) != nlohmann::json::parse(text)) {
    finding("the library reads another value");
  }
  const base::JsonValue back = parse_json_value(written, "f", base::ErrorKind::usage);
  if (to_text(back) != written) finding("the written text reads as another value");
}

void check_config(std::string_view text, std::span<const std::string> overrides) {
  fixture::RunConfig run;
  const auto read = [&] { run = base::parse_config<fixture::RunConfig>(text, "f", overrides); };
  if (!succeeds(read)) return;
  const std::string resolved = base::config_text(run);
  const auto back = base::parse_config<fixture::RunConfig>(resolved, "resolved");
  if (base::config_text(back) != resolved) finding("the resolved config reads as another");
}

}  // namespace

std::vector<std::string> seeds() {
  return {
      R"({"seed": -9007199254740993, "rate": 1, "shape": "linear", "tied": true,
  "model": {"width": 12,
            "normalizer": {"learn_scale": false, "kind": "scaled", "scale": {"initial": 2}}},
  "data": {"train": ["b*.bin", "c.bin"]}})",
      R"({"$schema": "s", "model": {"normalizer": {"kind": "plain"}}, "data": {"name": "\u00e9"}})",
      R"({"extends": "a.json"})",
      R"([1, -2, 2.5, 1e3, true, null, "\ud83d\ude00"])",
      "{}",
      "3",
      "--seed=3\n--model.normalizer.kind=scaled\n--model.normalizer.scale.initial=2.5",
      "data.train=a,b\nmodel={\"width\":4}\nmodel.heads=2"};
}

}  // namespace ssmax::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ssmax;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  fuzz::check_parsing(text);
  fuzz::check_config(text, {});
  fuzz::check_config("{}", base::split(text, '\n'));
  return 0;
}
