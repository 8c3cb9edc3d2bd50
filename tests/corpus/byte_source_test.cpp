#include "corpus/byte_source.h"

#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include <random>

#include "corpus/corpus_fixture.h"
#include "corpus/documents.h"
#include "corpus/haystack.h"
#include "corpus/prepare.h"

namespace ssmax::corpus {
namespace {

using base::ErrorKind;

std::string gzip(std::string_view text) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string packed(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

std::string zstd(std::string_view text) {
  std::string packed(ZSTD_compressBound(text.size()), '\0');
  packed.resize(ZSTD_compress(packed.data(), packed.size(), text.data(), text.size(), 3));
  return packed;
}

std::string pack(Packing packing, std::string_view text) {
  return packing == Packing::gzip ? gzip(text) : zstd(text);
}

/// Reads all in blocks of `size`.
std::string unpack(const std::filesystem::path& file, std::size_t size) {
  const auto source = open_source(file);
  std::string all;
  std::vector<char> block(size);
  while (const std::size_t count = source->read(block)) {
    all.append(block.data(), count);
    if (count < size) break;
  }
  EXPECT_EQ(source->consumed(), static_cast<std::int64_t>(std::filesystem::file_size(file)));
  return all;
}

/// Text that packs well in front and badly at the end, over a megabyte.
std::string varied() {
  std::string text(700000, 'a');
  std::mt19937 random(1);
  for (int i = 0; i < 500000; ++i) text.push_back(static_cast<char>(random()));
  return text;
}

const std::vector<std::pair<Packing, std::string>> kPackings = {{Packing::gzip, "a.txt.gz"},
                                                                {Packing::zstd, "a.txt.zst"}};

TEST(ByteSource, unpacks_blocks_of_any_size) {
  const TemporaryFolder folder;
  const std::string text = varied();
  write_all(folder / "a.txt", text);
  EXPECT_EQ(unpack(folder / "a.txt", 1000), text);
  for (const auto& [packing, name] : kPackings) {
    write_all(folder / name, pack(packing, text));
    for (const std::size_t size : {999UL, 65536UL, 3000000UL}) {
      EXPECT_TRUE(unpack(folder / name, size) == text) << name << " " << size;
    }
  }
}

TEST(ByteSource, streams_behind_each_other_are_one_file) {
  const TemporaryFolder folder;
  for (const auto& [packing, name] : kPackings) {
    write_all(folder / name, pack(packing, "one ") + pack(packing, "") + pack(packing, "two"));
    EXPECT_EQ(unpack(folder / name, 100), "one two") << name;
  }
}

TEST(ByteSource, cut_and_damaged_files_are_errors) {
  const TemporaryFolder folder;
  const std::string text = varied();
  for (const auto& [packing, name] : kPackings) {
    const std::string whole = pack(packing, text);
    for (const std::size_t size :
         {std::size_t{1}, std::size_t{20}, whole.size() / 2, whole.size() - 1}) {
      write_all(folder / name, whole.substr(0, size));
      expect_contains(error_of(ErrorKind::data, [&] { unpack(folder / name, 4096); }), name);
    }
    write_all(folder / name, whole + "tail");
    expect_contains(error_of(ErrorKind::data, [&] { unpack(folder / name, 4096); }), name);
    write_all(folder / name, "not packed at all");
    expect_contains(error_of(ErrorKind::data, [&] { unpack(folder / name, 4096); }), "damaged");
    std::string flipped = whole;
    flipped[whole.size() / 3] = static_cast<char>(flipped[whole.size() / 3] ^ 4);
    write_all(folder / name, flipped);
    std::string found;
    try {
      found = unpack(folder / name, 4096);
    } catch (const base::Error&) {
      continue;
    }
    // zstd without a checksum cannot see every flip, but never reads beyond.
    EXPECT_EQ(packing, Packing::zstd);
    EXPECT_LE(found.size(), 2 * text.size());
  }
}

TEST(ByteSource, packed_inputs_give_the_same_shards) {
  const TemporaryFolder folder;
  std::string lines;
  for (int i = 0; i < 3000; ++i) {
    lines += "{\"text\": \"document " + std::to_string(i) + " has some words\"}\n";
  }
  std::filesystem::create_directories(folder / "in");
  const auto shard_of = [&](const std::string& name, const std::string& bytes) {
    write_all(folder / name, bytes);
    PrepareOptions options;
    options.inputs = {folder.name(name)};
    options.out = folder / "out";
    std::int64_t done = 0;
    std::int64_t total = 0;
    prepare(Tokenizer::byte_level(), options, [&](std::int64_t now, std::int64_t all) {
      done = now;
      total = all;
    });
    EXPECT_EQ(done, total) << name;
    EXPECT_EQ(total, static_cast<std::int64_t>(bytes.size())) << name;
    std::string shard = read_all(folder / "out/train_000000.bin");
    std::filesystem::remove_all(folder / "out");
    return shard;
  };
  const std::string expected = shard_of("a.jsonl", lines);
  EXPECT_TRUE(shard_of("b.jsonl.gz", gzip(lines)) == expected);
  EXPECT_TRUE(shard_of("c.jsonl.zst", zstd(lines)) == expected);
  EXPECT_TRUE(shard_of("d.json.gz", gzip(lines)) == expected);
  // In a folder too, where binary files are left out.
  write_all(folder / "in/a.jsonl.gz", gzip(lines));
  write_all(folder / "in/b.bin.gz", gzip(std::string("\0\1\2", 3)));
  const std::vector<std::string> names = {folder.name("in")};
  const Inputs inputs = find_inputs(names);
  EXPECT_EQ(inputs.files.size(), 1U);
  EXPECT_EQ(inputs.skipped, 1);
}

TEST(ByteSource, a_haystack_counts_the_bytes_of_files_as_they_are) {
  const TemporaryFolder folder;
  write_all(folder / "a.txt.gz", gzip(std::string(100000, 'a')));
  std::int64_t done = 0;
  std::int64_t all = 0;
  const Haystack haystack(std::vector<std::string>{folder.name("a.txt.gz")},
                          Tokenizer::byte_level(), 200000,
                          [&](std::int64_t now, std::int64_t total) {
                            done = now;
                            all = total;
                          });
  EXPECT_EQ(haystack.tokens(), 100000);
  EXPECT_EQ(all, static_cast<std::int64_t>(std::filesystem::file_size(folder / "a.txt.gz")));
  EXPECT_EQ(done, all);
}

}  // namespace
}  // namespace ssmax::corpus
