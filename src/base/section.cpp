#include "base/section.h"

#include <algorithm>
#include <set>
#include <stdexcept>
#include <utility>

#include "base/config.h"
#include "base/text.h"

namespace ssmax::base {

std::string bound_text(double bound) {
  std::string text = to_text(JsonValue::of(bound));
  if (text.ends_with(".0")) text.resize(text.size() - 2);
  return text;
}

const FieldInfo* SectionInfo::find(std::string_view key) const {
  const auto found = std::ranges::find(fields, key, &FieldInfo::key);
  return found == fields.end() ? nullptr : &*found;
}

namespace detail {

const SectionInfo& checked_section(const SectionInfo& info) {
  std::set<std::string_view> keys;
  std::set<std::size_t> offsets;
  for (const FieldInfo& field : info.fields) {
    const std::string key(field.key);
    if (key.empty() || key.find('.') != std::string::npos) {
      throw std::logic_error("fields(): a key must have no dot and not be empty: '" + key + "'");
    }
    if (!keys.insert(field.key).second) {
      throw std::logic_error("fields() lists the key twice: " + key);
    }
    // Members of no size may share an offset; all members here have one.
    if (!offsets.insert(field.offset).second) {
      throw std::logic_error("fields() lists the member twice, at the key " + key);
    }
    const Constraints& c = field.constraints;
    const bool numeric = field.type == FieldType::integer || field.type == FieldType::number;
    const bool has_length = field.type == FieldType::string || field.type == FieldType::string_list;
    if ((c.at_least || c.at_most || c.above || c.below) && !numeric) {
      throw std::logic_error("fields() bounds a field that is no number: " + key);
    }
    if (c.non_empty && !has_length) {
      throw std::logic_error("fields() wants a field non-empty that has no length: " + key);
    }
  }
  return info;
}

}  // namespace detail

AnySection::AnySection(const AnySection& other)
    : info_(other.info_),
      object_(other.object_ != nullptr ? other.info_->copy(other.object_) : nullptr) {}

AnySection::AnySection(AnySection&& other) noexcept
    : info_(std::exchange(other.info_, nullptr)), object_(std::exchange(other.object_, nullptr)) {}

AnySection& AnySection::operator=(AnySection other) noexcept {
  std::swap(info_, other.info_);
  std::swap(object_, other.object_);
  return *this;
}

AnySection::~AnySection() {
  if (object_ != nullptr) info_->destroy(object_);
}

const void* AnySection::checked(const SectionInfo& wanted) const {
  if (info_ != &wanted) throw std::logic_error("AnySection::get: it holds another type");
  return object_;
}

JsonValue AnySection::write() const { return untyped::write(*info_, object_); }

std::string AnySection::explain() const { return untyped::explain(*info_, ""); }

bool AnySection::operator==(const AnySection& other) const {
  if (info_ != other.info_) return false;
  return info_ == nullptr || to_text(write()) == to_text(other.write());
}

KindSection::KindSection(KindTable kinds, std::string_view kind) : table_(kinds) { select(kind); }

const KindEntry& KindSection::entry(std::string_view kind) const {
  const std::vector<KindEntry>& kinds = table_();
  const auto found = std::ranges::find(kinds, kind, &KindEntry::name);
  if (found != kinds.end()) return *found;
  std::vector<std::string_view> names;
  for (const KindEntry& candidate : kinds) names.push_back(candidate.name);
  throw Error(ErrorKind::usage, "unknown kind " + in_quotes(kind) + ", did you mean " +
                                    in_quotes(nearest(kind, names)) +
                                    "? The kinds are: " + join(names, ", "));
}

void KindSection::select(std::string_view kind) {
  if (kind == kind_) return;
  const KindEntry& chosen = entry(kind);
  options_ = chosen.make();
  kind_ = chosen.name;
}

}  // namespace ssmax::base
