#pragma once

#include <filesystem>

namespace ssmax::base {

/// A folder that is there complete or not at all: written as OUT.partial, renamed to OUT by
/// commit(). A failure removes OUT.partial; what a killed process left of it the next try removes.
class PartialFolder {
 public:
  /// Makes OUT.partial, empty. Error(usage) when OUT is there and not an empty folder; Error(disk)
  /// when the folder cannot be made or what is left of an earlier try cannot be removed.
  explicit PartialFolder(const std::filesystem::path& out);
  PartialFolder(const PartialFolder&) = delete;
  PartialFolder& operator=(const PartialFolder&) = delete;
  /// Removes OUT.partial, unless it was committed.
  ~PartialFolder();

  /// OUT.partial.
  const std::filesystem::path& path() const { return partial_; }
  /// Renames it, durably. Nothing is left to write then.
  void commit();

 private:
  std::filesystem::path out_, partial_;
};

/// Error(usage) when `out` is there and not an empty folder; to be asked before long work.
void require_absent_or_empty(const std::filesystem::path& out);

}  // namespace ssmax::base
