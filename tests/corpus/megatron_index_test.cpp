#include "corpus/megatron_index.h"

#include <gtest/gtest.h>

#include <cstring>

#include "corpus/corpus_fixture.h"
#include "corpus/loader.h"

namespace ssmax::corpus {
namespace {

using base::ErrorKind;
using Ids = std::vector<std::int32_t>;

template <class T>
void put(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

/// An index as Megatron's writer makes it, for sequences of these lengths.
std::string index_text(std::uint8_t code, const std::vector<std::int32_t>& lengths,
                       std::int64_t width) {
  std::string bytes("MMIDIDX\0\0", 9);
  put(bytes, std::uint64_t{1});
  put(bytes, code);
  put(bytes, static_cast<std::uint64_t>(lengths.size()));
  put(bytes, static_cast<std::uint64_t>(lengths.size() + 1));
  for (const std::int32_t length : lengths) put(bytes, length);
  std::int64_t offset = 0;
  for (const std::int32_t length : lengths) {
    put(bytes, offset);
    offset += length * width;
  }
  for (std::size_t i = 0; i <= lengths.size(); ++i) put(bytes, static_cast<std::int64_t>(i));
  return bytes;
}

std::string token_text(const Ids& ids, std::size_t width) {
  std::string bytes;
  for (const std::int32_t id : ids) bytes.append(reinterpret_cast<const char*>(&id), width);
  return bytes;
}

const Ids kIds = {5, 6, 50256, 7, 50256, 8, 9, 10, 50256};
const std::vector<std::int32_t> kLengths = {3, 2, 0, 4};

TEST(MegatronIndex, more_sequences_than_are_looked_at_at_a_time) {
  const TemporaryFolder folder;
  std::vector<std::int32_t> lengths(70000);
  for (std::size_t i = 0; i < lengths.size(); ++i) lengths[i] = static_cast<std::int32_t>(i % 3);
  write_all(folder / "a.idx", index_text(8, lengths, 2));
  EXPECT_EQ(read_megatron_index(folder / "a.idx").tokens, 69999);
}

TEST(MegatronIndex, both_types_are_read_as_shards) {
  const TemporaryFolder folder;
  for (const auto& [code, width] : {std::pair<int, int>{8, 2}, {4, 4}}) {
    write_all(folder / "a.idx", index_text(static_cast<std::uint8_t>(code), kLengths, width));
    write_all(folder / "a.bin", token_text(kIds, static_cast<std::size_t>(width)));
    EXPECT_EQ(read_megatron_index(folder / "a.idx").sequences, 4);
    const Shard shard(folder / "a.bin");
    EXPECT_EQ(shard.tokens(), 9);
    EXPECT_EQ(shard.bytes(), 9 * width);
    Ids read(5);
    shard.read(read, 3, 50257);
    EXPECT_EQ(read, Ids(kIds.begin() + 3, kIds.begin() + 8));
  }
}

TEST(MegatronIndex, a_loader_takes_them) {
  const TemporaryFolder folder;
  write_all(folder / "a.idx", index_text(8, kLengths, 2));
  write_all(folder / "a.bin", token_text(kIds, 2));
  LoaderOptions options;
  options.files = {folder.name("a.bin")};
  options.sequence_length = 4;
  options.vocab_size = 50257;
  options.order = Order::sequential;
  Loader loader(options);
  EXPECT_EQ(loader.samples(), 2);
  const Batch batch = loader.next();
  EXPECT_EQ(Ids(batch.tokens.begin(), batch.tokens.end()), Ids(kIds.begin(), kIds.begin() + 4));
}

TEST(MegatronIndex, bad_ones_are_errors_with_file_and_offset) {
  const TemporaryFolder folder;
  const std::string good = index_text(8, kLengths, 2);
  const auto error_with = [&](const std::string& index, const std::string& tokens) {
    write_all(folder / "a.idx", index);
    write_all(folder / "a.bin", tokens);
    return error_of(ErrorKind::data, [&] { Shard shard(folder / "a.bin"); });
  };
  const std::string tokens = token_text(kIds, 2);
  const auto changed = [&](std::size_t at, char to) {
    std::string bytes = good;
    bytes[at] = to;
    return bytes;
  };
  expect_contains(error_with(good, tokens + "xx"), "expected 18 bytes by the index");
  expect_contains(error_with(good, ""), "expected 18 bytes by the index");
  expect_contains(error_with(changed(0, 'm'), tokens), "MMIDIDX");
  expect_contains(error_with(changed(9, 2), tokens), "version 1, found 2");
  expect_contains(error_with(changed(17, 3), tokens), "offset 17: expected tokens of type 8");
  expect_contains(error_with(changed(18, 5), tokens), "truncated or damaged");
  expect_contains(error_with(changed(25, 127), tokens), "truncated or damaged");
  expect_contains(error_with(changed(34, 2), tokens), "behind the one before");
  expect_contains(error_with(changed(34 + 16 + 8, 7), tokens), "expected sequence 1 at byte 6");
  for (std::size_t size = 0; size < good.size(); ++size) {
    EXPECT_NE(error_with(good.substr(0, size), tokens), "") << size;
  }
  std::filesystem::remove(folder / "a.idx");
  expect_contains(error_of(ErrorKind::data, [&] { Shard shard(folder / "a.bin"); }), "token shard");
}

}  // namespace
}  // namespace ssmax::corpus
