#include "train/tensorboard.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>

#include "base/clock.h"

namespace ssmax::train {

namespace {

constexpr std::string_view kPrefix = "events.out.tfevents.";

/// CRC-32C (Castagnoli), reflected, RFC 3720 appendix B.4.
constexpr std::array<std::uint32_t, 256> kCrcTable = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1U) != 0 ? 0x82F63B78U : 0U);
    table[byte] = crc;
  }
  return table;
}();

/// TFRecords store a rotated sum, so that a sum over data with sums in it is no special case.
std::uint32_t masked_crc(std::string_view data) {
  std::uint32_t crc = ~0U;
  for (const char c : data) {
    crc = kCrcTable[(crc ^ static_cast<unsigned char>(c)) & 0xFFU] ^ (crc >> 8);
  }
  return std::rotr(~crc, 15) + 0xA282EAD8U;
}

template <class T>
void append_little_endian(std::string& out, T value) {
  for (std::size_t byte = 0; byte < sizeof(T); ++byte) {
    out += static_cast<char>(value >> (8 * byte) & 0xFFU);
  }
}

void append_varint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

/// Protobuf wire types.
enum class Wire : std::uint8_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

void append_key(std::string& out, unsigned field, Wire wire) {
  append_varint(out, (field << 3) | static_cast<unsigned>(wire));
}

void append_bytes(std::string& out, unsigned field, std::string_view bytes) {
  append_key(out, field, Wire::bytes);
  append_varint(out, bytes.size());
  out += bytes;
}

/// Event { double wall_time = 1; int64 step = 2; ... } without its content.
std::string event_head(std::int64_t step) {
  std::string event;
  append_key(event, 1, Wire::fixed64);
  append_little_endian(event, std::bit_cast<std::uint64_t>(base::unix_seconds()));
  append_key(event, 2, Wire::varint);
  append_varint(event, static_cast<std::uint64_t>(step));
  return event;
}

/// Event { string file_version = 3 }: the first record of every file.
std::string version_event() {
  std::string event = event_head(0);
  append_bytes(event, 3, "brain.Event:2");
  return event;
}

/// Event { SessionLog session_log = 7 { SessionStatus status = 1 } }: status START = 1 makes
/// readers forget this step and later ones.
std::string restart_event(std::int64_t first_step) {
  std::string session;
  append_key(session, 1, Wire::varint);
  append_varint(session, 1);
  std::string event = event_head(first_step);
  append_bytes(event, 7, session);
  return event;
}

/// Summary.Value { string tag = 1; float simple_value = 2 }.
std::string summary_value(const TensorboardLog::Scalar& scalar) {
  std::string value;
  append_bytes(value, 1, scalar.tag);
  append_key(value, 2, Wire::fixed32);
  append_little_endian(value, std::bit_cast<std::uint32_t>(static_cast<float>(scalar.value)));
  return value;
}

/// Now, or one second after the newest event file of the folder: readers go by the order of names.
std::int64_t file_seconds(const std::filesystem::path& folder) {
  auto seconds = static_cast<std::int64_t>(base::unix_seconds());
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kPrefix)) continue;
    std::int64_t other = 0;
    std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), other);
    seconds = std::max(seconds, other + 1);
  }
  return seconds;
}

std::filesystem::path new_file(const std::filesystem::path& folder) {
  base::create_folders(folder);
  char host[256] = "host";
  gethostname(host, sizeof(host) - 1);
  const std::string seconds = std::to_string(file_seconds(folder));
  return folder / (std::string(kPrefix) + seconds + '.' + host + '.' + std::to_string(getpid()));
}

}  // namespace

TensorboardLog::TensorboardLog(const std::filesystem::path& folder, std::int64_t resumed_step)
    : file_(new_file(folder)) {
  append(version_event());
  if (resumed_step > 0) append(restart_event(resumed_step + 1));
}

void TensorboardLog::write(const StepMetrics& metrics) {
  const Scalar scalars[] = {{"loss/train", metrics.loss},
                            {"learning_rate", metrics.learning_rate},
                            {"gradient_norm", metrics.gradient_norm},
                            {"tokens_per_second", metrics.tokens_per_second},
                            {"model_flops_utilization", metrics.model_flops_utilization}};
  write(metrics.step, scalars);
}

void TensorboardLog::write(const ValidationMetrics& metrics) {
  const Scalar scalars[] = {{"loss/validation", metrics.loss}};
  write(metrics.step, scalars);
}

void TensorboardLog::write(std::int64_t step, std::span<const Scalar> scalars) {
  std::string summary;
  for (const Scalar& scalar : scalars) append_bytes(summary, 1, summary_value(scalar));
  std::string event = event_head(step);
  append_bytes(event, 5, summary);
  append(event);
}

void TensorboardLog::append(const std::string& event) {
  std::string record;
  append_little_endian(record, static_cast<std::uint64_t>(event.size()));
  append_little_endian(record, masked_crc(record));
  record += event;
  append_little_endian(record, masked_crc(event));
  file_.append(record);
}

}  // namespace ssmax::train
