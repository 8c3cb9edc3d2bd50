#include "normalizers/registry.h"

#include <string>

#include "base/errors.h"
#include "base/text.h"
#include "normalizers/registry_list.h"

namespace ssmax::normalizers {

const std::vector<NormalizerEntry>& entries() {
  static const std::vector<NormalizerEntry> all = [] {
    std::vector<NormalizerEntry> found = all_entries();
    for (NormalizerEntry& entry : found) entry.has_cuda = entry.make(entry.options())->has_cuda();
    return found;
  }();
  return all;
}

const NormalizerEntry& find(std::string_view kind) {
  std::vector<std::string_view> kinds;
  for (const NormalizerEntry& entry : entries()) {
    if (entry.kind == kind) return entry;
    kinds.push_back(entry.kind);
  }
  throw base::Error(base::ErrorKind::usage, "no normalizer " + base::in_quotes(kind) +
                                                "; the nearest kind is " +
                                                base::in_quotes(base::nearest(kind, kinds)) +
                                                ", `ssmax normalizers` lists all");
}

const std::vector<base::KindEntry>& normalizer_kinds() {
  static const std::vector<base::KindEntry> kinds = [] {
    std::vector<base::KindEntry> all;
    for (const NormalizerEntry& entry : entries()) {
      all.push_back({entry.kind, entry.help, entry.options});
    }
    return all;
  }();
  return kinds;
}

std::unique_ptr<kernels::AttentionNormalizer> make(const base::KindSection& section) {
  return find(section.kind()).make(section.options());
}

}  // namespace ssmax::normalizers
