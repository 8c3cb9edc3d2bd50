#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "device/tensor.h"

/// The safetensors format: 8 bytes little-endian length of the header, the header as JSON, the
/// data. Each member of the header is a tensor's name with
/// {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, offsets from the end of the
/// header; "__metadata__" maps strings to strings.
/// Format: https://github.com/huggingface/safetensors (README, section Format)
namespace ssmax::base {
class InputFile;
}

namespace ssmax::checkpoint {

/// Element types that a file may hold; the program's own tensors know four of them.
enum class FileDType : std::uint8_t {
  boolean,
  u8,
  i8,
  f8_e4m3,
  f8_e5m2,
  u16,
  i16,
  f16,
  bf16,
  u32,
  i32,
  f32,
  u64,
  i64,
  f64,
};

std::int64_t size_of(FileDType dtype);      ///< bytes of one element
std::string_view name_of(FileDType dtype);  ///< as the format spells it: "F32"
FileDType file_dtype(device::DType dtype);  ///< what a tensor of the program is written as

/// One tensor of a file. `begin` and `end` are bytes from the end of the header.
struct TensorInfo {
  std::string name;
  FileDType dtype = FileDType::f32;
  std::vector<std::int64_t> shape;
  std::int64_t begin = 0;
  std::int64_t end = 0;

  std::int64_t elements() const { return (end - begin) / size_of(dtype); }
  std::int64_t bytes() const { return end - begin; }
  std::string shape_text() const;  ///< "(2, 3)"
};

/// What a tensor of one axis is part of: elements [begin, begin + count) of a tensor of `shape`
/// whose other elements are in other files of the checkpoint.
struct Fragment {
  std::vector<std::int64_t> shape;
  std::int64_t begin = 0;

  /// "elements from 1024 of (768, 768)": how the metadata of a file say it, under kFragment + name.
  std::string text() const;
  std::int64_t elements() const;
};
inline constexpr char kFragment[] = "fragment.";

/// A tensor to be written.
struct NamedTensor {
  std::string name;
  device::ConstTensor tensor;
  std::optional<Fragment> fragment = std::nullopt;  ///< when it is not the whole
};

/// The metadata that say which tensors are fragments.
std::map<std::string, std::string> fragment_metadata(std::span<const NamedTensor> tensors);

/// A file as it was written: what a manifest says about it.
struct WrittenFile {
  std::string name;  ///< within its folder
  std::int64_t bytes = 0;
  std::string xxh3_128;  ///< of all bytes, computed from memory; 32 hexadecimal digits
};

/// No header is longer; the same limit as in other readers of the format.
inline constexpr std::int64_t kMaxSafetensorsHeader = std::int64_t{16} << 20;

/// An open safetensors file, read with pread: no mapping, so a file that shrinks is an error and
/// not a signal. Reading is safe from several threads at once.
/// Refused: a header that is longer than 16 MiB or than the file, does not start with `{`, is not
/// strict JSON or has duplicate keys; unknown dtypes; sizes that do not fit 64 bits; offsets that
/// do not agree with the shape, overlap, leave holes or do not cover the file exactly; metadata
/// that is not strings. Every error is Error(checkpoint) with file, tensor, expected and found.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const;
  /// In the order of their data.
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  /// nullptr when there is none.
  const TensorInfo* find(std::string_view name) const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  std::int64_t bytes() const;  ///< of the whole file

  /// Fills `destination`, on whatever device, which must have the dtype and shape of the file's.
  void read(std::string_view name, const device::Tensor& destination) const;
  /// The same from F64, F32, BF16 or F16 to f64, f32 or bf16; rounds to nearest.
  void read_converted(std::string_view name, const device::Tensor& destination) const;
  /// The same of as many elements as `destination`, of one axis, has, from element `first` on.
  void read_elements(const TensorInfo& tensor, std::int64_t first,
                     const device::Tensor& destination) const;
  /// nullopt for a tensor that is whole. Error(checkpoint) when the metadata make no sense.
  std::optional<Fragment> fragment(const TensorInfo& tensor) const;
  /// `out.size()` bytes of the tensor's data, from its byte `offset`.
  void read_bytes(const TensorInfo& tensor, std::int64_t offset, std::span<std::byte> out) const;

 private:
  const TensorInfo& get(std::string_view name, const device::Tensor& destination) const;

  std::shared_ptr<const base::InputFile> file_;
  std::vector<TensorInfo> tensors_;
  std::map<std::string, std::size_t, std::less<>> index_;
  std::map<std::string, std::string> metadata_;
  std::int64_t data_begin_ = 0;
};

/// What the header of `text` says; `data_bytes` is the length of the data behind it. `source` names
/// the file in errors. Separate from the file for fuzzing.
struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;
  std::map<std::string, std::string> metadata;
};
SafetensorsHeader parse_safetensors_header(std::string_view text, std::int64_t data_bytes,
                                           std::string_view source);

/// Writes a new file durably: preallocated, fully written, fsync. Tensors may be on any device;
/// wider elements come first so that all are aligned, else the order stays. Error(disk) names the
/// path with needed and free bytes; the half-written file is left to the caller to remove.
WrittenFile write_safetensors(const std::filesystem::path& path,
                              std::span<const NamedTensor> tensors,
                              const std::map<std::string, std::string>& metadata = {});

/// Bytes that write_safetensors would write.
std::int64_t safetensors_bytes(std::span<const NamedTensor> tensors,
                               const std::map<std::string, std::string>& metadata = {});

/// Elements as double, whatever the dtype; for reports. Booleans are 0 and 1.
std::vector<double> values_of(FileDType dtype, std::span<const std::byte> bytes);

}  // namespace ssmax::checkpoint
