#include "corpus/byte_source.h"

#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "base/errors.h"

namespace ssmax::corpus {

namespace {

using std::filesystem::path;

constexpr std::size_t kBlock = std::size_t{1} << 18;

[[noreturn]] void fail(const path& file, const std::string& message) {
  throw base::Error(base::ErrorKind::data, file.string() + ": " + message);
}

class PlainSource : public ByteSource {
 public:
  explicit PlainSource(const path& file) : file_(file), stream_(file, std::ios::binary) {
    if (!stream_) fail(file, "cannot open: " + std::string(std::strerror(errno)));
  }

  std::size_t read(std::span<char> out) override {
    stream_.read(out.data(), static_cast<std::streamsize>(out.size()));
    if (stream_.bad()) fail(file_, "cannot read: " + std::string(std::strerror(errno)));
    consumed_ += stream_.gcount();
    return static_cast<std::size_t>(stream_.gcount());
  }
  std::int64_t consumed() const override { return consumed_; }

 private:
  path file_;
  std::ifstream stream_;
  std::int64_t consumed_ = 0;
};

/// The packed bytes of a file, a block at a time, for a decoder that takes them by and by.
class PackedSource : public ByteSource {
 public:
  explicit PackedSource(const path& file) : file_(file), packed_(file) {}

  std::size_t read(std::span<char> out) override {
    std::size_t filled = 0;
    while (filled < out.size()) {
      if (at_ == block_.size()) refill();
      if (block_.empty() && between_streams_) break;
      // At the end of the file the decoder may still hold bytes that had no room before.
      const std::size_t count = unpack(out.subspan(filled));
      if (block_.empty() && count == 0 && !between_streams_) {
        fail(file_, "ends in the middle of its data; copy it again");
      }
      filled += count;
    }
    return filled;
  }
  std::int64_t consumed() const override { return packed_.consumed(); }

 protected:
  /// Decodes some of rest() into `out`; says with took() and between_streams() what it did.
  virtual std::size_t unpack(std::span<char> out) = 0;

  std::span<const char> rest() const { return std::span(block_).subspan(at_); }
  void took(std::size_t count) { at_ += count; }
  void between_streams(bool between) { between_streams_ = between; }
  const path& file() const { return file_; }

 private:
  void refill() {
    block_.resize(kBlock);
    block_.resize(packed_.read(block_));
    at_ = 0;
  }

  path file_;
  PlainSource packed_;
  std::vector<char> block_;
  std::size_t at_ = 0;
  bool between_streams_ = true;
};

/// One gzip stream after the other, as `cat a.gz b.gz` and pigz make them.
class GzipSource : public PackedSource {
 public:
  explicit GzipSource(const path& source) : PackedSource(source) {
    constexpr int kGzipOnly = 16 + MAX_WBITS;
    if (inflateInit2(&stream_, kGzipOnly) != Z_OK) fail(source, "zlib cannot be set up");
  }
  ~GzipSource() override { inflateEnd(&stream_); }
  GzipSource(const GzipSource&) = delete;
  GzipSource& operator=(const GzipSource&) = delete;

 protected:
  std::size_t unpack(std::span<char> out) override {
    const std::span<const char> packed = rest();
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
    stream_.avail_in = static_cast<uInt>(packed.size());
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    const auto room = static_cast<uInt>(std::min(out.size(), kBlock));
    stream_.avail_out = room;
    const int status = inflate(&stream_, Z_NO_FLUSH);
    took(packed.size() - stream_.avail_in);
    if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR) {
      fail(file(), std::string("is no gzip file, or damaged: ") +
                       (stream_.msg == nullptr ? "unknown" : stream_.msg));
    }
    between_streams(status == Z_STREAM_END);
    if (status == Z_STREAM_END) inflateReset(&stream_);
    return room - stream_.avail_out;
  }

 private:
  z_stream stream_{};
};

/// One zstd frame after the other.
class ZstdSource : public PackedSource {
 public:
  explicit ZstdSource(const path& source) : PackedSource(source), stream_(ZSTD_createDStream()) {
    if (stream_ == nullptr) throw std::bad_alloc();
    // Files packed with --long=31 ask for a window of 2 GiB.
    ZSTD_DCtx_setParameter(stream_, ZSTD_d_windowLogMax, 31);
  }
  ~ZstdSource() override { ZSTD_freeDStream(stream_); }
  ZstdSource(const ZstdSource&) = delete;
  ZstdSource& operator=(const ZstdSource&) = delete;

 protected:
  std::size_t unpack(std::span<char> out) override {
    const std::span<const char> packed = rest();
    ZSTD_inBuffer in{packed.data(), packed.size(), 0};
    ZSTD_outBuffer unpacked{out.data(), out.size(), 0};
    const std::size_t status = ZSTD_decompressStream(stream_, &unpacked, &in);
    if (ZSTD_isError(status) != 0) {
      fail(file(), std::string("is no zstd file, or damaged: ") + ZSTD_getErrorName(status));
    }
    took(in.pos);
    between_streams(status == 0);
    return unpacked.pos;
  }

 private:
  ZSTD_DStream* stream_;
};

}  // namespace

Packing packing_of(const path& file) {
  const path extension = file.extension();
  if (extension == ".gz") return Packing::gzip;
  return extension == ".zst" ? Packing::zstd : Packing::none;
}

std::unique_ptr<ByteSource> open_source(const path& file) {
  switch (packing_of(file)) {
    case Packing::gzip:
      return std::make_unique<GzipSource>(file);
    case Packing::zstd:
      return std::make_unique<ZstdSource>(file);
    case Packing::none:
      break;
  }
  return std::make_unique<PlainSource>(file);
}

}  // namespace ssmax::corpus
