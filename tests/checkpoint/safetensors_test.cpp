#include "checkpoint/safetensors.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstdlib>

#include "base/hash.h"
#include "checkpoint/checkpoint_fixture.h"

namespace ssmax::checkpoint {
namespace {

using device::Bf16;
using device::view;

/// A file of this header and that many bytes of data.
std::string file_text(std::string_view header, std::size_t data_bytes) {
  const auto length = std::bit_cast<std::array<char, 8>>(static_cast<std::uint64_t>(header.size()));
  return std::string(length.begin(), length.end()) + std::string(header) +
         std::string(data_bytes, '\1');
}

class SafetensorsTest : public testing::Test {
 protected:
  /// The error that opening a file of these bytes gives.
  std::string open_error(std::string_view bytes) {
    write_all(path_, bytes);
    return checkpoint_error([&] { SafetensorsFile file(path_); });
  }
  void expect_refused(std::string_view header, std::size_t data_bytes, std::string_view reason) {
    const std::string error = open_error(file_text(header, data_bytes));
    EXPECT_NE(error.find(reason), std::string::npos) << "header " << header << "\nerror " << error;
    EXPECT_NE(error.find(path_.string()), std::string::npos) << error;
  }

  TemporaryFolder folder_;
  fs::path path_ = folder_.path() / "a.safetensors";
};

TEST_F(SafetensorsTest, round_trip_of_every_dtype) {
  std::array<float, 6> f32 = {1.5F, -0.0F, INFINITY, 1e-45F, 3.0F, -2.0F};
  std::array<Bf16, 3> bf16 = {Bf16(1.0F), Bf16(-2.5F), Bf16(3e38F)};
  std::array<double, 2> f64 = {0.1, -1e300};
  std::array<std::int32_t, 4> i32 = {1, -2, 2147483647, -2147483647 - 1};
  const std::vector<NamedTensor> tensors = {{"b", view(bf16.data(), {3})},
                                            {"f", view(f32.data(), {2, 3})},
                                            {"d", view(f64.data(), {2, 1, 1, 1})},
                                            {"i", view(i32.data(), {4})},
                                            {"nothing", view(f32.data(), {0, 3})}};
  const WrittenFile written = write_safetensors(path_, tensors, {{"key", "value \"quoted\""}});

  EXPECT_EQ(written.name, "a.safetensors");
  EXPECT_EQ(written.bytes, static_cast<std::int64_t>(fs::file_size(path_)));
  EXPECT_EQ(written.bytes, safetensors_bytes(tensors, {{"key", "value \"quoted\""}}));
  EXPECT_EQ(written.xxh3_128, base::hash_hex(read_all(path_)));

  const SafetensorsFile file(path_);
  EXPECT_EQ(file.metadata().at("key"), "value \"quoted\"");
  EXPECT_EQ(file.tensors().size(), 5U);
  EXPECT_EQ(file.find("absent"), nullptr);
  std::array<float, 6> f32_back{};
  std::array<Bf16, 3> bf16_back{};
  std::array<double, 2> f64_back{};
  std::array<std::int32_t, 4> i32_back{};
  file.read("f", view(f32_back.data(), {2, 3}));
  file.read("b", view(bf16_back.data(), {3}));
  file.read("d", view(f64_back.data(), {2, 1, 1, 1}));
  file.read("i", view(i32_back.data(), {4}));
  file.read("nothing", view(f32_back.data(), {0, 3}));
  EXPECT_EQ(std::memcmp(f32.data(), f32_back.data(), sizeof(f32)), 0);
  EXPECT_EQ(std::memcmp(bf16.data(), bf16_back.data(), sizeof(bf16)), 0);
  EXPECT_EQ(f64, f64_back);
  EXPECT_EQ(i32, i32_back);
}

TEST_F(SafetensorsTest, data_is_aligned_to_its_elements) {
  std::array<Bf16, 3> odd{};
  std::array<double, 1> wide = {1.0};
  std::array<float, 1> middle = {1.0F};
  write_safetensors(path_, std::vector<NamedTensor>{{"odd", view(odd.data(), {3})},
                                                    {"middle", view(middle.data(), {1})},
                                                    {"wide", view(wide.data(), {1})}});
  const SafetensorsFile file(path_);
  std::uint64_t header = 0;
  std::memcpy(&header, read_all(path_).data(), 8);
  EXPECT_EQ(header % 8, 0U);
  for (const TensorInfo& tensor : file.tensors()) {
    EXPECT_EQ(tensor.begin % size_of(tensor.dtype), 0) << tensor.name;
  }
}

TEST_F(SafetensorsTest, reads_more_than_one_chunk) {
  std::vector<float> values((std::size_t{1} << 21) + 17);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  const auto count = static_cast<std::int64_t>(values.size());
  write_safetensors(path_, std::vector<NamedTensor>{{"x", view(values.data(), {count})}});
  std::vector<float> back(values.size());
  std::vector<double> wide(values.size());
  const SafetensorsFile file(path_);
  file.read("x", view(back.data(), {count}));
  file.read_converted("x", view(wide.data(), {count}));
  EXPECT_EQ(values, back);
  EXPECT_TRUE(std::equal(values.begin(), values.end(), wide.begin()));
}

TEST_F(SafetensorsTest, converts_floats_exactly_or_to_nearest) {
  // 1, -2, the largest half, the smallest subnormal half, infinity.
  const std::array<std::uint16_t, 5> halves = {0x3c00, 0xc000, 0x7bff, 0x0001, 0x7c00};
  std::string data(reinterpret_cast<const char*>(halves.data()), sizeof(halves));
  const double third = 1.0 / 3.0;
  data += std::string(reinterpret_cast<const char*>(&third), 8);
  std::string bytes = file_text(R"({"h":{"dtype":"F16","shape":[5],"data_offsets":[0,10]},)"
                                R"("d":{"dtype":"F64","shape":[1],"data_offsets":[10,18]}})",
                                0);
  write_all(path_, bytes + data);
  const SafetensorsFile file(path_);
  std::array<float, 5> f32{};
  file.read_converted("h", view(f32.data(), {5}));
  EXPECT_EQ(f32, (std::array<float, 5>{1.0F, -2.0F, 65504.0F, 0x1p-24F, INFINITY}));
  float narrow = 0;
  file.read_converted("d", view(&narrow, {1}));
  EXPECT_EQ(narrow, static_cast<float>(third));
  Bf16 narrower;
  file.read_converted("d", view(&narrower, {1}));
  EXPECT_EQ(narrower.bits, Bf16(third).bits);
}

TEST(Safetensors, the_values_of_foreign_dtypes_are_known) {
  const auto value = [](FileDType dtype, std::uint64_t bits) {
    const auto bytes = std::bit_cast<std::array<std::byte, 8>>(bits);
    return values_of(dtype, std::span(bytes).first(static_cast<std::size_t>(size_of(dtype))))[0];
  };
  EXPECT_EQ(value(FileDType::u8, 0xff), 255.0);
  EXPECT_EQ(value(FileDType::i8, 0xff), -1.0);
  EXPECT_EQ(value(FileDType::u16, 0xffff), 65535.0);
  EXPECT_EQ(value(FileDType::i16, 0xffff), -1.0);
  EXPECT_EQ(value(FileDType::u32, 0xffffffff), 4294967295.0);
  EXPECT_EQ(value(FileDType::i32, 0xffffffff), -1.0);
  EXPECT_EQ(value(FileDType::u64, 0x8000000000000000), 0x1p63);
  EXPECT_EQ(value(FileDType::i64, 0x8000000000000000), -0x1p63);
  EXPECT_TRUE(std::isnan(value(FileDType::f16, 0x7e00)));
  // One, the least and the largest above 0, and what is no number.
  EXPECT_EQ(value(FileDType::f8_e4m3, 0xb8), -1.0);
  EXPECT_EQ(value(FileDType::f8_e4m3, 0x01), 0x1p-9);
  EXPECT_EQ(value(FileDType::f8_e4m3, 0x7e), 448.0);
  EXPECT_TRUE(std::isnan(value(FileDType::f8_e4m3, 0x7f)));
  EXPECT_EQ(value(FileDType::f8_e5m2, 0xbc), -1.0);
  EXPECT_EQ(value(FileDType::f8_e5m2, 0x01), 0x1p-16);
  EXPECT_EQ(value(FileDType::f8_e5m2, 0x7b), 57344.0);
  EXPECT_EQ(value(FileDType::f8_e5m2, 0x7c), INFINITY);
  EXPECT_TRUE(std::isnan(value(FileDType::f8_e5m2, 0x7d)));
}

TEST_F(SafetensorsTest, reading_says_what_does_not_fit) {
  std::array<float, 6> values{};
  write_safetensors(path_, std::vector<NamedTensor>{{"x", view(values.data(), {2, 3})},
                                                    {"z", view(values.data(), {6})}});
  const SafetensorsFile file(path_);
  const auto reading = [&](std::string_view name, const device::Tensor& to) {
    return checkpoint_error([&] { file.read(name, to); });
  };
  EXPECT_EQ(reading("y", view(values.data(), {2, 3})),
            path_.string() + ": tensor \"y\": is not in the file");
  EXPECT_EQ(reading("x", view(values.data(), {3, 2})),
            path_.string() + ": tensor \"x\": expected the shape (3, 2), found (2, 3)");
  std::array<double, 6> wide{};
  EXPECT_EQ(reading("x", view(wide.data(), {2, 3})),
            path_.string() + ": tensor \"x\": expected the dtype F64, found F32");
  std::array<std::byte, 24> bytes{};
  EXPECT_NE(checkpoint_error([&] { file.read_bytes(*file.find("x"), 4, bytes); }), "");
  std::array<std::int32_t, 6> integers{};
  EXPECT_NE(checkpoint_error([&] { file.read_converted("x", view(integers.data(), {2, 3})); }), "");
}

TEST_F(SafetensorsTest, a_name_is_written_once) {
  const std::array<float, 1> value{};
  const NamedTensor named{"x", view(value.data(), {1})};
  EXPECT_THROW(write_safetensors(path_, std::vector<NamedTensor>{named, named}), std::logic_error);
}

TEST_F(SafetensorsTest, a_file_that_shrinks_is_an_error) {
  std::vector<float> values(4096, 1.0F);
  write_safetensors(path_, std::vector<NamedTensor>{{"x", view(values.data(), {4096})}});
  const SafetensorsFile file(path_);
  fs::resize_file(path_, 5000);
  const std::string error = checkpoint_error([&] { file.read("x", view(values.data(), {4096})); });
  EXPECT_NE(error.find(path_.string()), std::string::npos) << error;
}

TEST_F(SafetensorsTest, refuses_hostile_headers) {
  const auto one = [](std::string_view body) {
    return std::string(R"({"x":{)").append(body).append("}}");
  };
  expect_refused("[]", 0, "starts with {");
  expect_refused(" {}", 0, "starts with {");
  expect_refused("{} x", 0, path_.string() + ":1");
  expect_refused(R"({"x":1})", 0, "expected an object");
  expect_refused(one(R"("dtype":"F32","shape":[1])"), 4, "has no data_offsets");
  expect_refused(one(R"("dtype":"F32","data_offsets":[0,4])"), 4, "has no shape");
  expect_refused(one(R"("shape":[1],"data_offsets":[0,4])"), 4, "has no dtype");
  expect_refused(one(R"("dtype":"F33","shape":[1],"data_offsets":[0,4])"), 4, "\"F33\"");
  expect_refused(one(R"("dtype":"F32","shape":[1],"data_offsets":[0,4],"y":1)"), 4, "key \"y\"");
  expect_refused(one(R"("dtype":"F32","shape":[1],"data_offsets":[4,0])"), 4, "begin <= end");
  expect_refused(one(R"("dtype":"F32","shape":[1],"data_offsets":[0,4,8])"), 4, "3 numbers");
  expect_refused(one(R"("dtype":"F32","shape":[1],"data_offsets":[-4,0])"), 4, "integers");
  expect_refused(one(R"("dtype":"F32","shape":[1.0],"data_offsets":[0,4])"), 4, "integers");
  expect_refused(one(R"("dtype":"F32","shape":[true],"data_offsets":[0,4])"), 4, "integers");
  expect_refused(one(R"("dtype":"F32","shape":[-1],"data_offsets":[0,4])"), 4, "integers");
  expect_refused(one(R"("dtype":"F32","shape":[18446744073709551616],"data_offsets":[0,4])"), 4,
                 "integers");
  expect_refused(one(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0])"), 0,
                 "fit 64 bits");
  expect_refused(one(R"("dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0])"), 0,
                 "fit 64 bits");
  expect_refused(one(R"("dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0])"), 0,
                 "fit 64 bits");
  expect_refused(one(R"("dtype":"F32","shape":[2],"data_offsets":[0,4])"), 4, "expected 8 bytes");
  expect_refused(one(R"("dtype":"F32","shape":[2],"data_offsets":[0,8])"), 4, "cut off");
  expect_refused(one(R"("dtype":"F32","shape":[1],"data_offsets":[0,4])"), 8, "no tensor owns");
  expect_refused(one(R"("dtype":"F32","shape":[1],"data_offsets":[4,8])"), 8, "hole");
  expect_refused("{}", 1, "no tensor owns");
  expect_refused(R"({"__metadata__":1})", 0, "__metadata__");
  expect_refused(R"({"__metadata__":{"a":1}})", 0, "strings in __metadata__");
  expect_refused(R"({"__metadata__":{"a":{"b":"c"}}})", 0, "strings in __metadata__");
  const auto two = [](std::string_view first, std::string_view second) {
    return std::string("{").append(first).append(",").append(second).append("}");
  };
  const std::string_view a = R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  const std::string_view b = R"("b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]})";
  const std::string_view c = R"("c":{"dtype":"F32","shape":[1],"data_offsets":[12,16]})";
  expect_refused(two(a, b), 12, "overlap");
  expect_refused(two(a, c), 16, "hole");
  expect_refused(two(a, a), 8, "twice");
  expect_refused(one(R"("dtype":"F32","dtype":"I32","shape":[1],"data_offsets":[0,4])"), 4,
                 "twice");
  expect_refused("{\"\xff\":1}", 0, "not UTF-8");
  expect_refused(R"({"x":)" + std::string(1000000, '['), 0, "nested deeper");
}

TEST_F(SafetensorsTest, refuses_wrong_lengths) {
  EXPECT_NE(open_error(""), "");
  EXPECT_NE(open_error("1234567"), "");
  EXPECT_NE(open_error(std::string("\2\0\0\0\0\0\0\0{", 9)), "");
  EXPECT_EQ(open_error(std::string("\2\0\0\0\0\0\0\0{}", 10)), "");
  EXPECT_NE(open_error(std::string("\3\0\0\0\0\0\0\0{}", 10)), "");
  EXPECT_NE(open_error(std::string("\0\0\0\0\0\0\0\0{}", 10)), "");
  // One byte above the limit, and lengths that wrap around.
  EXPECT_NE(open_error(std::string("\1\0\0\1\0\0\0\0{}", 10)).find("at most 16777216"),
            std::string::npos);
  EXPECT_NE(open_error(std::string("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10)).find("at most"),
            std::string::npos);
  EXPECT_NE(open_error(std::string("\xf8\xff\xff\xff\xff\xff\xff\x7f{}", 10)).find("at most"),
            std::string::npos);
  fs::remove(path_);
  EXPECT_NE(checkpoint_error([&] { SafetensorsFile file(path_); }), "");
  EXPECT_NE(checkpoint_error([&] { SafetensorsFile file(folder_.path()); }), "");
}

TEST_F(SafetensorsTest, accepts_what_the_format_allows) {
  // Any order of members, tensors without elements anywhere, scalars, five axes, padded headers.
  const std::string header = R"({"b":{"data_offsets":[4,8],"shape":[1,1,1,1,1],"dtype":"F32"},)"
                             R"("e":{"dtype":"F32","shape":[0,7],"data_offsets":[4,4]},)"
                             R"("a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}      )";
  EXPECT_EQ(open_error(file_text(header, 8)), "");
  const SafetensorsFile file(path_);
  ASSERT_EQ(file.tensors().size(), 3U);
  EXPECT_EQ(file.tensors()[0].name, "a");
  EXPECT_EQ(file.find("a")->elements(), 1);
  EXPECT_EQ(file.find("b")->shape_text(), "(1, 1, 1, 1, 1)");
}

/// A Python that has the safetensors library; "" without one.
std::string python_with_safetensors() {
  const char* chosen = std::getenv("SSMAX_TEST_PYTHON");
  const std::string python = chosen != nullptr ? chosen : "python3";
  const std::string probe = python + " -c 'import safetensors.numpy' >/dev/null 2>&1";
  return std::system(probe.c_str()) == 0 ? python : "";
}

TEST_F(SafetensorsTest, opens_with_the_python_library) {
  const std::string python = python_with_safetensors();
  if (python.empty()) {
    GTEST_SKIP() << "no Python with the safetensors library; name one in SSMAX_TEST_PYTHON";
  }
  std::array<float, 6> f32 = {1.5F, -0.25F, 3.0F, 4.0F, 5.0F, 6.0F};
  std::array<double, 2> f64 = {0.1, -1e300};
  std::array<std::int32_t, 1> i32 = {-2};
  std::array<Bf16, 3> bf16 = {Bf16(1.0F), Bf16(-2.5F), Bf16(3.0F)};
  write_safetensors(path_,
                    std::vector<NamedTensor>{{"bf16", view(bf16.data(), {3})},
                                             {"f32", view(f32.data(), {2, 3})},
                                             {"f64", view(f64.data(), {2})},
                                             {"i32", view(i32.data(), {1})}},
                    {{"format", "pt"}});
  const fs::path script = folder_.path() / "read.py";
  write_all(script, R"(
import sys
from safetensors import safe_open
with safe_open(sys.argv[1], framework="np") as file:
    assert file.metadata() == {"format": "pt"}, file.metadata()
    assert sorted(file.keys()) == ["bf16", "f32", "f64", "i32"], file.keys()
    assert file.get_tensor("f32").tolist() == [[1.5, -0.25, 3.0], [4.0, 5.0, 6.0]]
    assert file.get_tensor("f64").tolist() == [0.1, -1e300]
    assert file.get_tensor("i32").tolist() == [-2]
    assert file.get_slice("bf16").get_dtype() == "BF16"
    assert file.get_slice("bf16").get_shape() == [3]
)");
  const std::string command = python + " " + script.string() + " " + path_.string();
  EXPECT_EQ(std::system(command.c_str()), 0);
}

TEST(SafetensorsGolden, reads_a_file_that_the_python_library_wrote) {
  const fs::path path = fs::path(SSMAX_SOURCE_DIR) / "tests/golden/model/softmax.safetensors";
  const SafetensorsFile file(path);
  EXPECT_GT(file.tensors().size(), 4U);
}

}  // namespace
}  // namespace ssmax::checkpoint
