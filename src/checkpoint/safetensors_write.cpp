#include <algorithm>
#include <array>
#include <bit>
#include <numeric>
#include <set>
#include <stdexcept>

#include "base/checked.h"
#include "base/durable_file.h"
#include "base/strict_json.h"
#include "checkpoint/safetensors.h"
#include "device/stream.h"

namespace ssmax::checkpoint {
namespace {

using base::JsonValue;
using device::ConstTensor;

// Eight bytes, so that the widest elements are aligned in a reader that maps the file.
constexpr std::int64_t kAlignment = 8;
constexpr std::int64_t kChunkElements = std::int64_t{1} << 20;

/// Places in `tensors`, wider elements first: no data then needs padding, which the format forbids.
std::vector<std::size_t> file_order(std::span<const NamedTensor> tensors) {
  std::vector<std::size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return size_of(tensors[a].tensor.dtype()) > size_of(tensors[b].tensor.dtype());
  });
  return order;
}

JsonValue tensor_json(const ConstTensor& tensor, std::int64_t begin) {
  JsonValue shape = JsonValue::array();
  for (const std::int64_t extent : tensor.shape().extents()) {
    shape.items.push_back(JsonValue::of(extent));
  }
  JsonValue offsets = JsonValue::array();
  offsets.items = {JsonValue::of(begin), JsonValue::of(begin + tensor.bytes())};
  JsonValue object = JsonValue::object();
  object.add("dtype", JsonValue::of(name_of(file_dtype(tensor.dtype()))));
  object.add("shape", std::move(shape));
  object.add("data_offsets", std::move(offsets));
  return object;
}

void check_names(std::span<const NamedTensor> tensors) {
  std::set<std::string_view> names;
  for (const NamedTensor& named : tensors) {
    if (named.tensor.empty() || named.name.empty() || named.name == "__metadata__" ||
        !names.insert(named.name).second) {
      throw std::logic_error("a tensor to be written without shape or a name of its own: " +
                             named.name);
    }
  }
}

/// The length and the header, padded with spaces.
std::string header_bytes(std::span<const NamedTensor> tensors, std::span<const std::size_t> order,
                         const std::map<std::string, std::string>& metadata) {
  check_names(tensors);
  JsonValue root = JsonValue::object();
  if (!metadata.empty()) {
    JsonValue object = JsonValue::object();
    for (const auto& [key, value] : metadata) object.add(key, JsonValue::of(value));
    root.add("__metadata__", std::move(object));
  }
  std::int64_t begin = 0;
  for (const std::size_t index : order) {
    root.add(tensors[index].name, tensor_json(tensors[index].tensor, begin));
    begin += tensors[index].tensor.bytes();
  }
  std::string text = base::to_text(root);
  const auto size = static_cast<std::int64_t>(text.size());
  text.append(static_cast<std::size_t>(base::div_up(size, kAlignment) * kAlignment - size), ' ');
  if (static_cast<std::int64_t>(text.size()) > kMaxSafetensorsHeader) {
    throw base::Error(base::ErrorKind::checkpoint,
                      "the header of " + std::to_string(tensors.size()) + " tensors has " +
                          std::to_string(text.size()) + " bytes; a file holds at most " +
                          std::to_string(kMaxSafetensorsHeader));
  }
  const auto length = std::bit_cast<std::array<char, 8>>(static_cast<std::uint64_t>(text.size()));
  return std::string(length.begin(), length.end()) + text;
}

std::int64_t data_bytes(std::span<const NamedTensor> tensors) {
  return std::accumulate(
      tensors.begin(), tensors.end(), std::int64_t{0},
      [](std::int64_t sum, const NamedTensor& named) { return sum + named.tensor.bytes(); });
}

void write_data(base::DurableFile& file, const ConstTensor& tensor,
                std::vector<std::byte>& staging) {
  // Without a copy and its threads, which training needs while we write in the background.
  if (tensor.device().kind == device::DeviceKind::cpu) {
    file.write(
        {static_cast<const std::byte*>(tensor.raw()), static_cast<std::size_t>(tensor.bytes())});
    return;
  }
  const std::int64_t count = tensor.elements();
  const std::int64_t size = device::size_of(tensor.dtype());
  const ConstTensor flat = tensor.reshaped({count});
  device::Stream stream(tensor.device());
  for (std::int64_t first = 0; first < count; first += kChunkElements) {
    const std::int64_t chunk = std::min(kChunkElements, count - first);
    const auto bytes = static_cast<std::size_t>(chunk * size);
    if (staging.size() < bytes) staging.resize(bytes);
    device::copy(stream, device::Tensor(staging.data(), tensor.dtype(), {chunk}),
                 flat.rows(first, chunk));
    stream.synchronize();
    file.write(std::span(staging).first(bytes));
  }
}

}  // namespace

std::map<std::string, std::string> fragment_metadata(std::span<const NamedTensor> tensors) {
  std::map<std::string, std::string> metadata;
  for (const NamedTensor& named : tensors) {
    if (named.fragment) metadata[kFragment + named.name] = named.fragment->text();
  }
  return metadata;
}

std::int64_t safetensors_bytes(std::span<const NamedTensor> tensors,
                               const std::map<std::string, std::string>& metadata) {
  return static_cast<std::int64_t>(header_bytes(tensors, file_order(tensors), metadata).size()) +
         data_bytes(tensors);
}

WrittenFile write_safetensors(const std::filesystem::path& path,
                              std::span<const NamedTensor> tensors,
                              const std::map<std::string, std::string>& metadata) {
  const std::vector<std::size_t> order = file_order(tensors);
  const std::string header = header_bytes(tensors, order, metadata);
  base::DurableFile file(path, static_cast<std::int64_t>(header.size()) + data_bytes(tensors));
  file.write(header);
  std::vector<std::byte> staging;
  for (const std::size_t index : order) write_data(file, tensors[index].tensor, staging);
  file.commit();
  return {path.filename().string(), file.bytes_written(), file.hash()};
}

}  // namespace ssmax::checkpoint
