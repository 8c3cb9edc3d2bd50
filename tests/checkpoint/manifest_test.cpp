#include "checkpoint/manifest.h"

#include "base/hash.h"
#include "checkpoint/checkpoint_fixture.h"

namespace ssmax::checkpoint {
namespace {

Manifest sample() {
  Manifest manifest = TinyRun().manifest(1234);
  manifest.files = {{"model.safetensors", 123456789012, std::string(32, 'a')},
                    {"optimizer.safetensors", 5, std::string(32, '0')}};
  return manifest;
}

/// `text` with `from` replaced by `to` and the hash made right again: an attacker, not an accident.
std::string edited(std::string text, std::string_view from, std::string_view to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  text.replace(at, from.size(), to);
  const std::size_t digits = text.size() - 4 - 32;
  text.replace(digits, 32, std::string(32, '0'));
  return text.replace(digits, 32, base::hash_hex(text));
}

TEST(Manifest, round_trip) {
  const Manifest manifest = sample();
  const std::string text = to_text(manifest);
  const Manifest back = parse_manifest(text, "m.json");
  EXPECT_EQ(to_text(back), text);
  EXPECT_EQ(back.program_version, base::kVersion);
  EXPECT_EQ(back.step, 1234);
  EXPECT_EQ(back.seed, -7);
  EXPECT_EQ(back.config, manifest.config);
  EXPECT_EQ(back.recent_losses, manifest.recent_losses);
  EXPECT_EQ(back.recent_norms, manifest.recent_norms);
  EXPECT_EQ(back.state, manifest.state);
  EXPECT_EQ(back.integer("cooldown"), 3);
  ASSERT_EQ(back.files.size(), 2U);
  EXPECT_EQ(back.files[0].bytes, 123456789012);
  EXPECT_NE(checkpoint_error([&] { back.integer("absent"); }), "");
}

TEST(Manifest, every_flipped_bit_is_seen) {
  const std::string text = to_text(sample());
  for (std::size_t bit = 0; bit < text.size() * 8; ++bit) {
    std::string flipped = text;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_NE(checkpoint_error([&] { parse_manifest(flipped, "m.json"); }), "") << "bit " << bit;
  }
}

TEST(Manifest, every_truncation_is_seen) {
  const std::string text = to_text(sample());
  for (std::size_t size = 0; size < text.size(); ++size) {
    EXPECT_NE(checkpoint_error([&] { parse_manifest(text.substr(0, size), "m.json"); }), "")
        << "size " << size;
  }
  EXPECT_NE(checkpoint_error([&] { parse_manifest(text + " ", "m.json"); }), "");
}

TEST(Manifest, refuses_what_is_no_manifest) {
  const std::string text = to_text(sample());
  const auto error = [&](std::string_view from, std::string_view to) {
    return checkpoint_error([&] { parse_manifest(edited(text, from, to), "m.json"); });
  };
  EXPECT_EQ(error("\"step\": 1234", "\"step\": 1234"), "");
  EXPECT_EQ(error("\"step\": 1234", "\"step\": -1"),
            "m.json:5:step: expected at least 0, found -1");
  EXPECT_EQ(error("\"step\": 1234", "\"step\": 1.9"),
            "m.json:5:step: expected an integer, found 1.9");
  EXPECT_EQ(error("\"step\": 1234", "\"step\": true"),
            "m.json:5:step: expected an integer, found true");
  EXPECT_NE(error("\"step\": 1234", "\"stop\": 1234").find("step: is missing"), std::string::npos);
  EXPECT_NE(error("\"step\": 1234", "\"step\": 1234, \"more\": 1").find("more: is not a key"),
            std::string::npos);
  EXPECT_NE(error("\"step\": 1234", "\"step\": 1234, \"step\": 1").find("twice"),
            std::string::npos);
  EXPECT_NE(error("\"format\": 1", "\"format\": 2").find("expected 1, found 2"), std::string::npos);
  for (const char* name : {"../model", "/etc/passwd", "", ".hidden", "a\\\\b", "a\\u0000b"}) {
    EXPECT_NE(error("\"name\": \"model.safetensors\"", "\"name\": \"" + std::string(name) + "\"")
                  .find("expected a file's name"),
              std::string::npos)
        << name;
  }
  EXPECT_NE(error("\"optimizer.safetensors\"", "\"model.safetensors\"").find("appears twice"),
            std::string::npos);
  EXPECT_NE(error("\"cooldown\": 3", "\"cooldown\": \"warm\"")
                .find("state.cooldown: expected an integer"),
            std::string::npos);
  EXPECT_NE(error("\"bytes\": 5", "\"bytes\": -5"), "");
  EXPECT_NE(error("\"bytes\": 5", "\"bytes\": 5, \"more\": 1").find("more: is not a key"),
            std::string::npos);
  EXPECT_NE(error(std::string(32, 'a'), std::string(31, 'a')), "");
  EXPECT_NE(checkpoint_error([&] {
              std::string damaged = text;
              damaged.replace(damaged.find("1234"), 4, "1235");
              parse_manifest(damaged, "m.json");
            }).find("expected the hash"),
            std::string::npos);
}

}  // namespace
}  // namespace ssmax::checkpoint
