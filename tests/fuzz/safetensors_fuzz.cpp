#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "base/errors.h"
#include "checkpoint/manifest.h"
#include "checkpoint/safetensors.h"
#include "fuzz/driver.h"

namespace ssmax::fuzz {
namespace {

/// The file of this process that the reader opens by name.
const std::filesystem::path& path() {
  static const std::filesystem::path file = [] {
    std::string name = "ssmax_safetensors_fuzz_";
    name.append(std::to_string(::getpid())).append(".safetensors");
    return std::filesystem::temp_directory_path() / name;
  }();
  return file;
}

template <class Work>
void refuse_or_work(const Work& work) {
  try {
    work();
  } catch (const base::Error& error) {
    if (error.kind() != base::ErrorKind::checkpoint) finding("an error of another kind");
    if (std::strchr(error.what(), '\n') != nullptr) finding("a message of several lines");
  }
}

/// Whatever was accepted must hold what the format promises.
void check_tensors(const std::vector<checkpoint::TensorInfo>& tensors, std::int64_t data_bytes) {
  std::int64_t covered = 0;
  for (const checkpoint::TensorInfo& tensor : tensors) {
    std::int64_t elements = 1;
    for (const std::int64_t extent : tensor.shape) {
      if (extent < 0 || __builtin_mul_overflow(elements, extent, &elements)) {
        finding("an extent that leaves 64 bits");
      }
    }
    if (tensor.begin != covered || tensor.end < tensor.begin) finding("a hole or an overlap");
    if (elements * size_of(tensor.dtype) != tensor.bytes()) finding("a shape of another size");
    covered = tensor.end;
  }
  if (covered != data_bytes) finding("data that no tensor owns");
}

void check_header(std::string_view text) {
  constexpr std::int64_t kData = 24;
  refuse_or_work([&] {
    check_tensors(checkpoint::parse_safetensors_header(text, kData, "fuzz").tensors, kData);
  });
}

void check_file(std::string_view bytes) {
  std::ofstream(path(), std::ios::binary)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  refuse_or_work([&] {
    const checkpoint::SafetensorsFile file(path());
    std::uint64_t header = 0;
    std::memcpy(&header, bytes.data(), sizeof(header));
    check_tensors(file.tensors(), file.bytes() - 8 - static_cast<std::int64_t>(header));
    std::vector<float> values(64);
    for (const checkpoint::TensorInfo& tensor : file.tensors()) {
      std::vector<std::byte> data(static_cast<std::size_t>(tensor.bytes()));
      file.read_bytes(tensor, 0, data);
      if (static_cast<std::int64_t>(values_of(tensor.dtype, data).size()) != tensor.elements()) {
        finding("another number of values than elements");
      }
      const bool fits = tensor.elements() <= 64 && tensor.shape.size() >= 1 &&
                        tensor.shape.size() <= device::Shape::kMaxRank;
      if (!fits) continue;
      refuse_or_work([&] {
        file.read_converted(tensor.name, device::view(values.data(), device::Shape(tensor.shape)));
      });
    }
  });
}

void check_manifest(std::string_view text) {
  refuse_or_work([&] {
    const checkpoint::Manifest manifest = checkpoint::parse_manifest(text, "fuzz");
    if (to_text(checkpoint::parse_manifest(to_text(manifest), "again")) != to_text(manifest)) {
      finding("a manifest that is another when it is written again");
    }
  });
}

std::string with_length(const std::string& header) {
  const std::uint64_t size = header.size();
  std::string text(sizeof(size), '\0');
  std::memcpy(text.data(), &size, sizeof(size));
  return text.append(header);
}

}  // namespace

std::vector<std::string> seeds() {
  const std::string two =
      R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},)"
      R"("b":{"dtype":"BF16","shape":[4],"data_offsets":[16,24]}}  )";
  const std::string odd = R"({"a":{"dtype":"F16","shape":[],"data_offsets":[0,2]},)"
                          R"("e":{"dtype":"I64","shape":[0,9],"data_offsets":[2,2]},)"
                          R"("q":{"dtype":"F8_E4M3","shape":[3],"data_offsets":[2,5]},)"
                          R"("c":{"dtype":"U8","shape":[1,1,1,1,19],"data_offsets":[5,24]}})";
  const std::string huge =
      R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})";
  checkpoint::Manifest manifest;
  manifest.config = R"({"name": "b"})";
  manifest.recent_losses = {1.5};
  manifest.state.emplace("phase", 1);
  manifest.files = {{"model.safetensors", 24, std::string(32, '0')}};
  const std::string data(24, '\1');
  return {two, odd, huge, with_length(two) + data, with_length(odd) + data, to_text(manifest)};
}

}  // namespace ssmax::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  ssmax::fuzz::check_header(bytes);
  ssmax::fuzz::check_file(bytes);
  ssmax::fuzz::check_manifest(bytes);
  return 0;
}
