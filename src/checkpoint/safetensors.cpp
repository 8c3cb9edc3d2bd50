#include "checkpoint/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>

#include "base/checked.h"
#include "base/errors.h"
#include "base/read_file.h"
#include "base/strict_json.h"
#include "base/text.h"
#include "device/stream.h"

namespace ssmax::checkpoint {
namespace {

using base::in_quotes;
using base::JsonValue;
using device::DType;
using device::Shape;
using device::Tensor;

struct DTypeRow {
  FileDType dtype;
  std::string_view name;
  std::int64_t bytes;
};

constexpr std::array<DTypeRow, 15> kDTypes = {{{FileDType::boolean, "BOOL", 1},
                                               {FileDType::u8, "U8", 1},
                                               {FileDType::i8, "I8", 1},
                                               {FileDType::f8_e4m3, "F8_E4M3", 1},
                                               {FileDType::f8_e5m2, "F8_E5M2", 1},
                                               {FileDType::u16, "U16", 2},
                                               {FileDType::i16, "I16", 2},
                                               {FileDType::f16, "F16", 2},
                                               {FileDType::bf16, "BF16", 2},
                                               {FileDType::u32, "U32", 4},
                                               {FileDType::i32, "I32", 4},
                                               {FileDType::f32, "F32", 4},
                                               {FileDType::u64, "U64", 8},
                                               {FileDType::i64, "I64", 8},
                                               {FileDType::f64, "F64", 8}}};

constexpr const DTypeRow& row_of(FileDType dtype) {
  return kDTypes[static_cast<std::size_t>(dtype)];
}

constexpr std::int64_t kLengthBytes = 8;
constexpr std::int64_t kChunkElements = std::int64_t{1} << 20;

[[noreturn]] void fail(std::string_view source, std::string_view tensor,
                       const std::string& reason) {
  std::string message(source);
  if (!tensor.empty()) message += ": tensor " + in_quotes(tensor);
  throw base::Error(base::ErrorKind::checkpoint, message + ": " + reason);
}

/// Reads the members of one tensor's object.
class TensorParser {
 public:
  TensorParser(std::string_view source, std::string_view name) : source_(source), name_(name) {}

  TensorInfo parse(const JsonValue& value) const {
    if (value.type != JsonValue::Type::object) {
      stop("expected an object with dtype, shape and data_offsets, found " + describe(value));
    }
    for (const base::JsonMember& member : value.members) {
      if (member.key != "dtype" && member.key != "shape" && member.key != "data_offsets") {
        stop("expected dtype, shape and data_offsets only, found the key " + in_quotes(member.key));
      }
    }
    TensorInfo info;
    info.name = name_;
    info.dtype = dtype(value);
    info.shape = integers(value, "shape");
    const std::vector<std::int64_t> offsets = integers(value, "data_offsets");
    if (offsets.size() != 2) {
      stop("expected data_offsets [begin, end], found " + std::to_string(offsets.size()) +
           " numbers");
    }
    info.begin = offsets[0];
    info.end = offsets[1];
    check(info);
    return info;
  }

 private:
  [[noreturn]] void stop(const std::string& reason) const { fail(source_, name_, reason); }

  const JsonValue& member(const JsonValue& value, std::string_view key) const {
    const JsonValue* found = value.find(key);
    if (found == nullptr) stop("has no " + std::string(key));
    return *found;
  }

  FileDType dtype(const JsonValue& value) const {
    const JsonValue& found = member(value, "dtype");
    std::string known;
    for (const DTypeRow& row : kDTypes) {
      if (found.type == JsonValue::Type::string && found.text == row.name) return row.dtype;
      known += (known.empty() ? "" : ", ") + std::string(row.name);
    }
    stop("expected a dtype of " + known + ", found " + describe(found));
  }

  std::vector<std::int64_t> integers(const JsonValue& value, std::string_view key) const {
    const JsonValue& found = member(value, key);
    const auto wrong = [&](const JsonValue& what) {
      stop("expected " + std::string(key) + " to be a list of integers from 0 to 2^63 - 1, found " +
           describe(what));
    };
    if (found.type != JsonValue::Type::array) wrong(found);
    std::vector<std::int64_t> result;
    for (const JsonValue& item : found.items) {
      if (item.type != JsonValue::Type::integer || item.integer < 0) wrong(item);
      result.push_back(item.integer);
    }
    return result;
  }

  void check(const TensorInfo& info) const {
    if (info.begin > info.end) {
      stop("expected data_offsets with begin <= end, found [" + std::to_string(info.begin) + ", " +
           std::to_string(info.end) + "]");
    }
    std::int64_t bytes = size_of(info.dtype);
    try {
      for (const std::int64_t extent : info.shape) bytes = base::checked_product(bytes, extent);
    } catch (const base::Error&) {
      stop("the shape " + info.shape_text() + " has more bytes than fit 64 bits");
    }
    if (bytes != info.end - info.begin) {
      stop("expected " + std::to_string(bytes) + " bytes for " + std::string(name_of(info.dtype)) +
           " " + info.shape_text() + ", found data_offsets of " +
           std::to_string(info.end - info.begin) + " bytes");
    }
  }

  std::string_view source_;
  std::string_view name_;
};

std::map<std::string, std::string> parse_metadata(const JsonValue& value, std::string_view source) {
  if (value.type != JsonValue::Type::object) {
    fail(source, "", "expected __metadata__ to be an object, found " + describe(value));
  }
  std::map<std::string, std::string> result;
  for (const base::JsonMember& member : value.members) {
    if (member.value.type != JsonValue::Type::string) {
      fail(source, "",
           "expected strings in __metadata__, found " + describe(member.value) + " for " +
               in_quotes(member.key));
    }
    result[member.key] = member.value.text;
  }
  return result;
}

/// Sorts by place and checks that the tensors cover the data without holes and overlap.
void check_coverage(std::vector<TensorInfo>& tensors, std::int64_t data_bytes,
                    std::string_view source) {
  std::sort(tensors.begin(), tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  std::int64_t covered = 0;
  for (const TensorInfo& tensor : tensors) {
    if (tensor.begin != covered) {
      fail(source, tensor.name,
           "expected its data at offset " + std::to_string(covered) + ", where the tensor before " +
               "it ends, found " + std::to_string(tensor.begin) +
               (tensor.begin < covered ? ": they overlap" : ": there is a hole"));
    }
    covered = tensor.end;
  }
  if (covered != data_bytes) {
    fail(source, "",
         "expected " + std::to_string(covered) + " bytes of data by the header, found " +
             std::to_string(data_bytes) +
             (covered > data_bytes ? ": the file is cut off" : ": bytes that no tensor owns"));
  }
}

double half_to_double(std::uint16_t bits) {
  const int exponent = (bits >> 10) & 0x1f;
  const int mantissa = bits & 0x3ff;
  double magnitude = 0.0;
  if (exponent == 0) {
    magnitude = std::ldexp(mantissa, -24);
  } else if (exponent == 31) {
    magnitude = mantissa == 0 ? INFINITY : NAN;
  } else {
    magnitude = std::ldexp(mantissa + 1024, exponent - 25);
  }
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

/// The 8-bit floats of the OCP specification; e4m3 has no infinity and one NaN per sign.
double quarter_to_double(std::uint8_t bits, int mantissa_bits) {
  if (mantissa_bits == 2) return half_to_double(static_cast<std::uint16_t>(bits << 8));
  const int exponent = (bits >> 3) & 0xf;
  const int mantissa = bits & 7;
  double magnitude =
      exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(mantissa + 8, exponent - 10);
  if (exponent == 15 && mantissa == 7) magnitude = NAN;
  return (bits & 0x80) != 0 ? -magnitude : magnitude;
}

template <class Raw, class Convert>
void decode_as(std::span<const std::byte> bytes, double* out, Convert convert) {
  for (std::size_t i = 0; i < bytes.size() / sizeof(Raw); ++i) {
    Raw raw;
    std::memcpy(&raw, bytes.data() + i * sizeof(Raw), sizeof(Raw));
    out[i] = static_cast<double>(convert(raw));
  }
}

void decode(FileDType dtype, std::span<const std::byte> bytes, double* out) {
  const auto same = [](auto raw) { return raw; };
  switch (dtype) {
    case FileDType::boolean:
    case FileDType::u8:
      return decode_as<std::uint8_t>(bytes, out, same);
    case FileDType::i8:
      return decode_as<std::int8_t>(bytes, out, same);
    case FileDType::f8_e4m3:
      return decode_as<std::uint8_t>(bytes, out, [](auto b) { return quarter_to_double(b, 3); });
    case FileDType::f8_e5m2:
      return decode_as<std::uint8_t>(bytes, out, [](auto b) { return quarter_to_double(b, 2); });
    case FileDType::u16:
      return decode_as<std::uint16_t>(bytes, out, same);
    case FileDType::i16:
      return decode_as<std::int16_t>(bytes, out, same);
    case FileDType::f16:
      return decode_as<std::uint16_t>(bytes, out, half_to_double);
    case FileDType::bf16:
      return decode_as<device::Bf16>(bytes, out, same);
    case FileDType::u32:
      return decode_as<std::uint32_t>(bytes, out, same);
    case FileDType::i32:
      return decode_as<std::int32_t>(bytes, out, same);
    case FileDType::f32:
      return decode_as<float>(bytes, out, same);
    case FileDType::u64:
      return decode_as<std::uint64_t>(bytes, out, same);
    case FileDType::i64:
      return decode_as<std::int64_t>(bytes, out, same);
    case FileDType::f64:
      return decode_as<double>(bytes, out, same);
  }
}

std::string shape_text_of(std::span<const std::int64_t> shape) {
  std::string result = "(";
  for (std::size_t axis = 0; axis < shape.size(); ++axis) {
    result += (axis > 0 ? ", " : "") + std::to_string(shape[axis]);
  }
  return result + ")";
}

std::int64_t read_length(const base::InputFile& file, std::string_view source) {
  if (file.size() < kLengthBytes + 2) {
    fail(source, "",
         "expected a safetensors file of at least 10 bytes, found " + std::to_string(file.size()));
  }
  std::array<std::byte, kLengthBytes> bytes{};
  file.read(bytes, 0);
  const auto length = std::bit_cast<std::uint64_t>(bytes);
  if (length > static_cast<std::uint64_t>(kMaxSafetensorsHeader)) {
    fail(source, "",
         "expected a header of at most " + std::to_string(kMaxSafetensorsHeader) +
             " bytes, found " + std::to_string(length) + ": not a safetensors file, or damaged");
  }
  if (static_cast<std::int64_t>(length) > file.size() - kLengthBytes) {
    fail(source, "",
         "expected a header of " + std::to_string(length) + " bytes, found a file of " +
             std::to_string(file.size()));
  }
  return static_cast<std::int64_t>(length);
}

}  // namespace

static_assert(std::endian::native == std::endian::little, "the format is little-endian");
static_assert(
    [] {
      for (std::size_t i = 0; i < kDTypes.size(); ++i) {
        if (kDTypes[i].dtype != static_cast<FileDType>(i)) return false;
      }
      return true;
    }(),
    "the table is in the order of the enumerators");

std::int64_t size_of(FileDType dtype) { return row_of(dtype).bytes; }
std::string_view name_of(FileDType dtype) { return row_of(dtype).name; }

FileDType file_dtype(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return FileDType::f32;
    case DType::bf16:
      return FileDType::bf16;
    case DType::f64:
      return FileDType::f64;
    case DType::i32:
      return FileDType::i32;
  }
  return FileDType::f32;
}

std::string TensorInfo::shape_text() const { return shape_text_of(shape); }

SafetensorsHeader parse_safetensors_header(std::string_view text, std::int64_t data_bytes,
                                           std::string_view source) {
  if (!text.starts_with('{')) {
    fail(source, "", "expected a header that starts with {, found " + in_quotes(text.substr(0, 8)));
  }
  const JsonValue root = base::parse_json_value(text, source, base::ErrorKind::checkpoint);
  SafetensorsHeader header;
  for (const base::JsonMember& member : root.members) {
    if (member.key == "__metadata__") {
      header.metadata = parse_metadata(member.value, source);
    } else {
      header.tensors.push_back(TensorParser(source, member.key).parse(member.value));
    }
  }
  check_coverage(header.tensors, data_bytes, source);
  return header;
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : file_(std::make_shared<base::InputFile>(path, base::ErrorKind::checkpoint)) {
  const std::string source = path.string();
  const std::int64_t length = read_length(*file_, source);
  std::string text(static_cast<std::size_t>(length), ' ');
  file_->read(std::as_writable_bytes(std::span(text)), kLengthBytes);
  data_begin_ = kLengthBytes + length;
  SafetensorsHeader header = parse_safetensors_header(text, file_->size() - data_begin_, source);
  tensors_ = std::move(header.tensors);
  metadata_ = std::move(header.metadata);
  for (std::size_t i = 0; i < tensors_.size(); ++i) index_[tensors_[i].name] = i;
}

const std::filesystem::path& SafetensorsFile::path() const { return file_->path(); }
std::int64_t SafetensorsFile::bytes() const { return file_->size(); }

const TensorInfo* SafetensorsFile::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

const TensorInfo& SafetensorsFile::get(std::string_view name, const Tensor& destination) const {
  const TensorInfo* info = find(name);
  if (info == nullptr) fail(path().string(), name, "is not in the file");
  const auto extents = destination.shape().extents();
  if (!std::equal(extents.begin(), extents.end(), info->shape.begin(), info->shape.end())) {
    fail(path().string(), name,
         "expected the shape " + destination.shape().text() + ", found " + info->shape_text());
  }
  return *info;
}

void SafetensorsFile::read_bytes(const TensorInfo& tensor, std::int64_t offset,
                                 std::span<std::byte> out) const {
  if (offset < 0 || offset > tensor.bytes() ||
      static_cast<std::int64_t>(out.size()) > tensor.bytes() - offset) {
    fail(path().string(), tensor.name,
         "has " + std::to_string(tensor.bytes()) + " bytes; asked for " +
             std::to_string(out.size()) + " from " + std::to_string(offset));
  }
  file_->read(out, data_begin_ + tensor.begin + offset);
}

void SafetensorsFile::read(std::string_view name, const Tensor& destination) const {
  const TensorInfo& info = get(name, destination);
  if (info.dtype != file_dtype(destination.dtype())) {
    fail(path().string(), name,
         "expected the dtype " + std::string(name_of(file_dtype(destination.dtype()))) +
             ", found " + std::string(name_of(info.dtype)));
  }
  read_elements(info, 0, destination.reshaped({info.elements()}));
}

void SafetensorsFile::read_converted(std::string_view name, const Tensor& destination) const {
  const TensorInfo& info = get(name, destination);
  read_elements(info, 0, destination.reshaped({info.elements()}));
}

void SafetensorsFile::read_elements(const TensorInfo& tensor, std::int64_t first,
                                    const Tensor& destination) const {
  const bool same = tensor.dtype == file_dtype(destination.dtype());
  const bool is_float = tensor.dtype == FileDType::f64 || tensor.dtype == FileDType::f32 ||
                        tensor.dtype == FileDType::bf16 || tensor.dtype == FileDType::f16;
  if (!same && (!is_float || destination.dtype() == DType::i32)) {
    fail(path().string(), tensor.name,
         "expected one of F64, F32, BF16, F16 to convert to " +
             std::string(device::name_of(destination.dtype())) + ", found " +
             std::string(name_of(tensor.dtype)));
  }
  const std::int64_t count = destination.elements();
  const std::int64_t size = size_of(tensor.dtype);
  device::Stream stream(destination.device());
  const auto room = static_cast<std::size_t>(std::min(count, kChunkElements));
  std::vector<std::byte> bytes(room * static_cast<std::size_t>(size));
  std::vector<double> values(same ? 0 : room);
  for (std::int64_t begin = 0; begin < count; begin += kChunkElements) {
    const std::int64_t chunk = std::min(kChunkElements, count - begin);
    const auto part = std::span(bytes).first(static_cast<std::size_t>(chunk * size));
    read_bytes(tensor, (first + begin) * size, part);
    if (same) {
      device::copy(stream, destination.rows(begin, chunk),
                   device::ConstTensor(bytes.data(), destination.dtype(), {chunk}));
      stream.synchronize();
      continue;
    }
    decode(tensor.dtype, part, values.data());
    device::dispatch(destination.dtype(), [&]<class T>(device::Tag<T>) {
      std::vector<T> converted(static_cast<std::size_t>(chunk));
      std::transform(values.begin(), values.begin() + chunk, converted.begin(),
                     [](double value) { return static_cast<T>(value); });
      device::copy(stream, destination.rows(begin, chunk),
                   device::ConstTensor(converted.data(), destination.dtype(), {chunk}));
      stream.synchronize();
    });
  }
}

std::optional<Fragment> SafetensorsFile::fragment(const TensorInfo& tensor) const {
  const auto found = metadata_.find(kFragment + tensor.name);
  if (found == metadata_.end()) return std::nullopt;
  // What was written, or nothing: the text of the numbers in it must be the text itself.
  Fragment fragment;
  const char* next = found->second.data();
  const char* end = next + found->second.size();
  const auto number = [&] {
    while (next != end && (*next < '0' || *next > '9')) ++next;
    std::int64_t value = 0;
    const auto [after, error] = std::from_chars(next, end, value);
    next = after;
    return error == std::errc() ? value : std::int64_t{-1};
  };
  fragment.begin = number();
  for (std::int64_t extent = number(); extent >= 0; extent = number()) {
    fragment.shape.push_back(extent);
  }
  const std::int64_t most = std::numeric_limits<std::int64_t>::max() / size_of(tensor.dtype);
  const bool sound = fragment.text() == found->second && fragment.begin >= 0 &&
                     !fragment.shape.empty() && fragment.elements() <= most &&
                     fragment.shape.size() <= device::Shape::kMaxRank && tensor.shape.size() == 1 &&
                     fragment.begin <= fragment.elements() - tensor.elements();  // -1 is too many
  if (!sound) {
    fail(path().string(), tensor.name,
         "expected metadata like \"" + Fragment{{4, 8}, 16}.text() + "\", found " +
             in_quotes(found->second));
  }
  return fragment;
}

std::string Fragment::text() const {
  return "elements from " + std::to_string(begin) + " of " + shape_text_of(shape);
}

std::int64_t Fragment::elements() const {
  std::int64_t product = 1;
  for (const std::int64_t extent : shape) {
    if (extent != 0 && product > std::numeric_limits<std::int64_t>::max() / extent) return -1;
    product *= extent;
  }
  return product;
}

std::vector<double> values_of(FileDType dtype, std::span<const std::byte> bytes) {
  std::vector<double> values(bytes.size() / static_cast<std::size_t>(size_of(dtype)));
  decode(dtype, bytes, values.data());
  return values;
}

}  // namespace ssmax::checkpoint
