#include "base/partial_folder.h"

#include "base/durable_file.h"
#include "base/errors.h"

namespace ssmax::base {

namespace {

namespace fs = std::filesystem;

/// With a name to append to: no "." and no slash at the end.
fs::path with_name(const fs::path& given) {
  const fs::path out = fs::absolute(given).lexically_normal();
  return out.has_filename() ? out : out.parent_path();
}

}  // namespace

void require_absent_or_empty(const fs::path& out) {
  std::error_code error;
  if (!fs::exists(out, error) || (fs::is_directory(out) && fs::is_empty(out))) return;
  throw Error(ErrorKind::usage, out.string() +
                                    " exists and is not an empty folder; choose another or "
                                    "remove it");
}

PartialFolder::PartialFolder(const fs::path& out)
    : out_(with_name(out)), partial_(out_.string() + ".partial") {
  require_absent_or_empty(out);
  std::error_code error;
  fs::remove_all(partial_, error);
  if (error) {
    throw Error(ErrorKind::disk, "cannot remove " + partial_.string() +
                                     ", which an interrupted try left: " + error.message());
  }
  create_folders(partial_);
}

PartialFolder::~PartialFolder() {
  std::error_code ignored;  // the failure that leads here is the one to report
  if (!partial_.empty()) fs::remove_all(partial_, ignored);
}

void PartialFolder::commit() {
  rename_durably(partial_, out_);
  partial_.clear();
}

}  // namespace ssmax::base
