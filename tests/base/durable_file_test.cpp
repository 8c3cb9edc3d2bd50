#include "base/durable_file.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <vector>

#include "base/read_file.h"
#include "support/temporary_folder.h"

namespace ssmax::base {
namespace {

namespace fs = std::filesystem;

/// Makes the call of number `fail_at` (from 1) fail with `error`, and keeps a list of all calls.
class Faults {
 public:
  explicit Faults(int fail_at = 0, int error = 0, std::int64_t max_bytes = -1) {
    set_disk_fault_hook([this, fail_at, error, max_bytes](DiskCall call, const fs::path&) {
      calls.push_back(call);
      const bool fails = static_cast<int>(calls.size()) == fail_at;
      return DiskFault{fails ? error : 0, max_bytes};
    });
  }
  Faults(const Faults&) = delete;
  Faults& operator=(const Faults&) = delete;
  ~Faults() { set_disk_fault_hook({}); }

  std::vector<DiskCall> calls;
};

class DurableFiles : public testing::Test {
 protected:
  std::string content(const std::string& name) const {
    return read_text_file(folder_ / name, ErrorKind::data);
  }
  int entries() const {
    return static_cast<int>(std::distance(fs::directory_iterator(folder_.path()), {}));
  }

  support::TemporaryFolder folder_;
};

TEST_F(DurableFiles, WritesWhatItIsGiven) {
  DurableFile file(folder_ / "a", 11);
  file.write("hello ");
  file.write("world");
  EXPECT_EQ(file.bytes_written(), 11);
  EXPECT_EQ(file.hash(), hash_hex("hello world"));
  file.commit();
  EXPECT_EQ(content("a"), "hello world");
}

TEST_F(DurableFiles, ReservedSpaceIsThereAndIsCut) {
  DurableFile file(folder_ / "a", 100'000);
  EXPECT_EQ(fs::file_size(folder_ / "a"), 100'000U);
  file.write("x");
  file.commit();
  EXPECT_EQ(content("a"), "x");
}

TEST_F(DurableFiles, ShortWritesGoOn) {
  const Faults faults(0, 0, 3);
  DurableFile file(folder_ / "a");
  file.write("0123456789");
  file.commit();
  EXPECT_EQ(content("a"), "0123456789");
  // 4 writes of at most 3 bytes.
  EXPECT_EQ(std::count(faults.calls.begin(), faults.calls.end(), DiskCall::write), 4);
}

TEST_F(DurableFiles, AFullDiskSaysHowMuchIsNeeded) {
  const Faults faults(2, ENOSPC);
  try {
    const DurableFile file(folder_ / "a", 5 << 20);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::disk);
    const std::string message = error.what();
    EXPECT_NE(message.find((folder_ / "a").string()), std::string::npos) << message;
    EXPECT_NE(message.find("No space left on device; 5.00 MiB needed, "), std::string::npos);
    EXPECT_NE(message.find(" free; make room"), std::string::npos) << message;
  }
}

TEST_F(DurableFiles, MoreThanTheDiskHoldsIsRefusedAtOnce) {
  // Either the file system says so or a limit on file sizes does; never a signal, never success.
  EXPECT_THROW(DurableFile(folder_ / "a", INT64_MAX / 2), Error);
  const Faults no_fallocate(2, EOPNOTSUPP);
  EXPECT_THROW(DurableFile(folder_ / "b", INT64_MAX / 2), Error);
}

TEST_F(DurableFiles, AnAtomicWriteIsWholeOrAbsentAtEveryFault) {
  write_file_atomically(folder_ / "a", "old");
  int calls = 0;
  {
    const Faults faults;
    write_file_atomically(folder_ / "a", "old");
    calls = static_cast<int>(faults.calls.size());
    EXPECT_EQ(faults.calls,
              (std::vector{DiskCall::create, DiskCall::preallocate, DiskCall::write,
                           DiskCall::sync_file, DiskCall::rename, DiskCall::sync_folder}));
  }
  for (int error : {ENOSPC, EIO, EDQUOT}) {
    for (int fail_at = 1; fail_at <= calls; ++fail_at) {
      write_file_atomically(folder_ / "a", "old");
      SCOPED_TRACE("call " + std::to_string(fail_at) + ", errno " + std::to_string(error));
      const Faults faults(fail_at, error);
      EXPECT_THROW(write_file_atomically(folder_ / "a", "new"), Error);
      // Only after the rename may the new content be seen.
      EXPECT_EQ(content("a"), fail_at > 5 ? "new" : "old");
      EXPECT_EQ(entries(), 1) << "a temporary file is left";
    }
  }
  write_file_atomically(folder_ / "a", "new");
  EXPECT_EQ(content("a"), "new");
}

TEST_F(DurableFiles, AnInterruptedCallIsRepeated) {
  for (int fail_at = 2; fail_at <= 4; ++fail_at) {
    SCOPED_TRACE(fail_at);
    const Faults faults(fail_at, EINTR);
    write_file_atomically(folder_ / "a", "content");
    EXPECT_EQ(content("a"), "content");
  }
}

TEST_F(DurableFiles, ErrorsNameWhatCannotBeDone) {
  try {
    write_file_atomically(folder_ / "missing" / "a", "x");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::disk);
    EXPECT_NE(std::string(error.what()).find("No such file or directory"), std::string::npos);
  }
  EXPECT_THROW(rename_durably(folder_ / "b", folder_ / "c"), Error);
  EXPECT_THROW(sync_folder(folder_ / "b"), Error);
  write_file_atomically(folder_ / "file", "x");
  EXPECT_THROW(create_folders(folder_ / "file" / "b"), Error);
}

TEST_F(DurableFiles, OverwritesWhatIsWritten) {
  {
    DurableFile file(folder_ / "a");
    file.write("head, then data");
    file.overwrite(0, std::as_bytes(std::span("HEAD", 4)));
    EXPECT_THROW(file.overwrite(12, std::as_bytes(std::span("DATA", 4))), std::logic_error);
    file.commit();
  }
  EXPECT_EQ(content("a"), "HEAD, then data");
}

TEST_F(DurableFiles, Appends) {
  {
    AppendFile log(folder_ / "log");
    log.append("one\n");
    log.append("two\n");
    log.sync();
  }
  AppendFile log(folder_ / "log");
  log.append("three\n");
  EXPECT_EQ(content("log"), "one\ntwo\nthree\n");
  const Faults faults(1, ENOSPC);
  EXPECT_THROW(log.append("five\n"), Error);
}

TEST_F(DurableFiles, RenamesFolders) {
  create_folders(folder_ / "x" / "y");
  write_file_atomically(folder_ / "x" / "y" / "a", "1");
  rename_durably(folder_ / "x" / "y", folder_ / "z");
  EXPECT_EQ(content("z/a"), "1");
}

TEST_F(DurableFiles, FreeBytesOfWhatDoesNotExistYet) {
  EXPECT_GT(free_bytes(folder_.path()), 0);
  EXPECT_GT(free_bytes(folder_ / "not" / "there"), 0);
  EXPECT_GT(free_bytes("not_there"), 0);
}

TEST_F(DurableFiles, ReadsAtOffsets) {
  write_file_atomically(folder_ / "a", "0123456789");
  const InputFile file(folder_ / "a", ErrorKind::data);
  EXPECT_EQ(file.size(), 10);
  std::string three(3, ' ');
  file.read(std::as_writable_bytes(std::span(three)), 4);
  EXPECT_EQ(three, "456");
  // A file that shrinks while it is read gives an error with the offset, not a signal.
  fs::resize_file(folder_ / "a", 5);
  try {
    file.read(std::as_writable_bytes(std::span(three)), 4);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::data);
    EXPECT_NE(std::string(error.what()).find("ends at offset 5, expected 2 more bytes"),
              std::string::npos)
        << error.what();
  }
  EXPECT_THROW(read_text_file(folder_ / "a", ErrorKind::data, 4), Error);
  EXPECT_THROW(InputFile(folder_.path(), ErrorKind::data), Error);
  EXPECT_THROW(InputFile(folder_ / "b", ErrorKind::data), Error);
}

TEST(Hash, AgreesWithKnownValues) {
  // XXH3-128 with seed 0, the high half first.
  EXPECT_EQ(hash_hex(""), "99aa06d3014798d86001c324468d497f");
  EXPECT_EQ(hash_hex("hello world"), "df8d09e93f874900a99b8775cc15b6c7");
}

TEST(Hash, PiecesGiveTheSame) {
  std::string text;
  for (int i = 0; i < 5000; ++i) text += static_cast<char>(i * 31 % 251);
  for (std::size_t piece : {1U, 7U, 256U, 1024U}) {
    Hasher hasher;
    for (std::size_t at = 0; at < text.size(); at += piece) {
      hasher.update(std::string_view(text).substr(at, piece));
    }
    EXPECT_EQ(hasher.hex(), hash_hex(text)) << piece;
  }
}

}  // namespace
}  // namespace ssmax::base
