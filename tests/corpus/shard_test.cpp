#include "corpus/shard.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <numeric>

#include "base/read_file.h"
#include "corpus/corpus_fixture.h"
#include "support/shards.h"

namespace ssmax::corpus {
namespace {

using base::ErrorKind;
using support::write_shard;
using Ids = std::vector<std::int32_t>;

/// A file with any header, as other programs or accidents make it.
void write_raw(const std::filesystem::path& path, const std::vector<std::int32_t>& header,
               std::int64_t payload_bytes) {
  std::array<std::int32_t, 256> full{};
  std::copy(header.begin(), header.end(), full.begin());
  std::string text(reinterpret_cast<const char*>(full.data()), sizeof full);
  text.append(static_cast<std::size_t>(payload_bytes), '\1');
  write_all(path, text);
}

TEST(Shard, tokens_written_are_read_back) {
  const TemporaryFolder folder;
  Ids tokens(3000);
  std::iota(tokens.begin(), tokens.end(), 0);
  tokens[7] = 65535;
  for (const TokenType type : {TokenType::uint16, TokenType::uint32}) {
    if (type == TokenType::uint32) tokens[7] = 200000;
    const ManifestFile file = write_shard(folder / "a.bin", tokens, type);
    EXPECT_EQ(file.file, "a.bin");
    EXPECT_EQ(file.tokens, 3000);
    EXPECT_EQ(file.bytes, 1024 + 3000 * token_bytes(type));
    EXPECT_EQ(file.bytes, static_cast<std::int64_t>(std::filesystem::file_size(folder / "a.bin")));
    EXPECT_FALSE(std::filesystem::exists(folder / "a.bin.partial"));

    const Shard shard(folder / "a.bin");
    EXPECT_EQ(shard.tokens(), 3000);
    EXPECT_EQ(shard.type(), type);
    for (const std::int64_t first : {0, 1, 6, 2990}) {
      for (const std::int64_t count : {0, 1, 2, 9, 10}) {
        Ids read(static_cast<std::size_t>(count));
        shard.read(read, first, 1 << 20);
        EXPECT_EQ(read, Ids(tokens.begin() + first, tokens.begin() + first + count));
      }
    }
  }
}

TEST(Shard, header_is_that_of_llm_c) {
  const TemporaryFolder folder;
  write_shard(folder / "a.bin", Ids{50256, 1, 2}, TokenType::uint16);
  const std::string bytes = read_all(folder / "a.bin");
  ASSERT_EQ(bytes.size(), 1024U + 6U);
  std::array<std::int32_t, 256> header{};
  std::memcpy(header.data(), bytes.data(), sizeof header);
  EXPECT_EQ(header[0], 20240520);
  EXPECT_EQ(header[1], 1);
  EXPECT_EQ(header[2], 3);
  for (std::size_t i = 3; i < 256; ++i) EXPECT_EQ(header[i], 0);
  EXPECT_EQ(bytes.substr(1024), std::string("\x50\xC4\x01\x00\x02\x00", 6));

  write_shard(folder / "b.bin", Ids{128000}, TokenType::uint32);
  std::memcpy(header.data(), read_all(folder / "b.bin").data(), sizeof header);
  EXPECT_EQ(header[0], 20240801);
  EXPECT_EQ(header[1], 7);
}

TEST(Shard, a_header_counts_more_than_an_index_beside_it) {
  const TemporaryFolder folder;
  write_shard(folder / "a.bin", Ids{1, 2, 3});
  write_all(folder / "a.idx", "of something else");
  EXPECT_EQ(Shard(folder / "a.bin").tokens(), 3);
}

TEST(Shard, bad_files_are_errors_with_file_and_offset) {
  struct Case {
    const char* name;
    std::vector<std::int32_t> header;
    std::int64_t payload_bytes;
    const char* message;
  };
  const std::vector<Case> cases = {
      {"wrong_magic", {20240522, 1, 4}, 8, "offset 0: expected the magic number"},
      {"swapped_bytes", {static_cast<std::int32_t>(0x98DA3401), 1, 4}, 8, "offset 0"},
      {"version", {20240520, 2, 4}, 8, "offset 4: expected version 1, found 2"},
      {"version_of_uint32", {20240801, 1, 4}, 16, "offset 4: expected version 7, found 1"},
      {"truncated", {20240520, 1, 4}, 6, "offset 8: the header declares 4 tokens"},
      {"half_a_token", {20240520, 1, 4}, 9, "offset 8: the header declares 4 tokens"},
      {"too_long", {20240520, 1, 4}, 10, "offset 8: the header declares 4 tokens"},
      {"negative", {20240520, 1, -4}, 8, "offset 8"},
      {"high_bits", {20240520, 1, 4, 1}, 8, "offset 8"},
      {"zero_tokens", {20240520, 1, 0}, 0, "zero tokens"},
  };
  const TemporaryFolder folder;
  for (const Case& bad : cases) {
    write_raw(folder / bad.name, bad.header, bad.payload_bytes);
    const std::string message = error_of(ErrorKind::data, [&] { Shard(folder / bad.name); });
    expect_contains(message, bad.name);
    expect_contains(message, bad.message);
  }
  write_all(folder / "short", "too short for a header");
  expect_contains(error_of(ErrorKind::data, [&] { Shard(folder / "short"); }), "22 bytes");
  write_all(folder / "empty", "");
  error_of(ErrorKind::data, [&] { Shard(folder / "empty"); });
  error_of(ErrorKind::data, [&] { Shard(folder / "missing"); });
  error_of(ErrorKind::data, [&] { Shard(folder / ""); });
}

TEST(Shard, an_id_outside_of_the_vocabulary_is_named_with_its_offset) {
  const TemporaryFolder folder;
  write_shard(folder / "a.bin", Ids{1, 2, 50257, 3}, TokenType::uint16);
  write_shard(folder / "b.bin", Ids{1, 2, 50257, 3}, TokenType::uint32);
  Ids read(3);
  for (const char* name : {"a.bin", "b.bin"}) {
    const Shard shard(folder / name);
    shard.read(read, 1, 50258);
    const std::string message = error_of(ErrorKind::data, [&] { shard.read(read, 1, 50257); });
    expect_contains(message, "offset " + std::to_string(1024 + 2 * token_bytes(shard.type())));
    expect_contains(message, "token id 50257 is not below the vocabulary size 50257");
  }
  write_raw(folder / "c.bin", {20240801, 7, 1}, 4);
  std::filesystem::resize_file(folder / "c.bin", 1024);
  std::string bytes = read_all(folder / "c.bin");
  write_all(folder / "c.bin", bytes + "\xFF\xFF\xFF\xFF");
  const Shard shard(folder / "c.bin");
  Ids one(1);
  expect_contains(error_of(ErrorKind::data, [&] { shard.read(one, 0, 1LL << 40); }), "4294967295");
}

TEST(Shard, a_file_that_shrinks_is_an_error_with_its_offset) {
  const TemporaryFolder folder;
  write_shard(folder / "a.bin", Ids(1000, 5));
  const Shard shard(folder / "a.bin");
  std::filesystem::resize_file(folder / "a.bin", 1024 + 500);
  Ids read(10);
  shard.read(read, 0, 10);
  const std::string message = error_of(ErrorKind::data, [&] { shard.read(read, 900, 10); });
  expect_contains(message, "a.bin");
  expect_contains(message, std::to_string(1024 + 1800));
}

TEST(Shard, reads_beyond_4_gib) {
  // Sparse: the file has its size and takes no space.
  const TemporaryFolder folder;
  const std::int64_t tokens = (1LL << 32) + 100;
  const std::string path = folder.name("a.bin");
  for (const std::int32_t high : {0, 1}) {  // the count cut to 32 bits, and the count in full
    write_raw(path, {20240520, 1, 100, high}, 0);
    std::error_code error;
    std::filesystem::resize_file(path, static_cast<std::uintmax_t>(1024 + 2 * tokens), error);
    if (error) GTEST_SKIP() << "no file of 8 GiB here: " << error.message();
    const int file = ::open(path.c_str(), O_WRONLY);
    const std::uint16_t last[] = {7, 8, 9};
    ASSERT_EQ(::pwrite(file, last, sizeof last, 1024 + 2 * (tokens - 3)), 6);
    ::close(file);

    const Shard shard(path);
    EXPECT_EQ(shard.tokens(), tokens);
    Ids read(4);
    shard.read(read, tokens - 4, 10);
    EXPECT_EQ(read, (Ids{0, 7, 8, 9}));
    std::filesystem::remove(path);
  }
}

TEST(ShardWriter, leaves_nothing_when_it_is_not_finished) {
  const TemporaryFolder folder;
  {
    ShardWriter writer(folder / "a.bin", TokenType::uint16);
    writer.append(Ids{1, 2, 3});
    expect_contains(error_of(ErrorKind::data, [&] { writer.append(Ids{65536}); }), "65536");
    error_of(ErrorKind::data, [&] { writer.append(Ids{-1}); });
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder / ""));
  error_of(ErrorKind::data, [&] { write_shard(folder / "a.bin", {}); });
  EXPECT_TRUE(std::filesystem::is_empty(folder / ""));
  expect_contains(error_of(ErrorKind::disk, [&] { write_shard(folder / "no/a.bin", Ids{1}); }),
                  "cannot create");
}

TEST(ShardWriter, a_disk_that_fails_leaves_the_folder_as_it_was) {
  const TemporaryFolder folder;
  const Ids tokens(1 << 20, 7);  // more than one buffer
  int calls = 0;
  int fail_at = 0;
  std::vector<base::DiskCall> order;
  base::set_disk_fault_hook([&](base::DiskCall call, const std::filesystem::path&) {
    order.push_back(call);
    return base::DiskFault{.error = ++calls == fail_at ? ENOSPC : 0};
  });
  write_shard(folder / "whole.bin", tokens);
  using enum base::DiskCall;
  EXPECT_EQ(std::vector(order.end() - 3, order.end()),
            (std::vector{sync_file, rename, sync_folder}));
  const int last = calls;
  EXPECT_GE(last, 7);  // create, header, two buffers, header, sync, rename
  // The rename is there and only its folder is not synced when the last call fails.
  for (fail_at = 1; fail_at < last; ++fail_at) {
    calls = 0;
    const std::string error =
        error_of(ErrorKind::disk, [&] { write_shard(folder / "a.bin", tokens); });
    expect_contains(error, "a.bin");
    expect_contains(error, " free");
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder / ""), {}), 1) << fail_at;
  }
  base::set_disk_fault_hook({});
}

TEST(ExpandGlobs, sorts_and_refuses_what_names_nothing_or_twice) {
  const TemporaryFolder folder;
  for (const char* name : {"b_2.bin", "b_10.bin", "b_1.bin", "a.bin"}) write_all(folder / name, "");
  const auto files = expand_globs({folder.name("b_*.bin"), folder.name("a.bin")});
  ASSERT_EQ(files.size(), 4U);
  EXPECT_EQ(files[0].filename(), "b_1.bin");
  EXPECT_EQ(files[1].filename(), "b_10.bin");
  EXPECT_EQ(files[3].filename(), "a.bin");
  expect_contains(error_of(ErrorKind::data, [&] { expand_globs({folder.name("c*")}); }),
                  "no file matches");
  expect_contains(error_of(ErrorKind::data,
                           [&] {
                             expand_globs({folder.name("*"), folder.name("a.bin")});
                           }),
                  "named twice");
}

}  // namespace
}  // namespace ssmax::corpus
