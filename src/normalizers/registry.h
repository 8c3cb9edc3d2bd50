#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "base/section.h"
#include "kernels/attention/normalizer.h"

namespace ssmax::normalizers {

using kernels::NormalizerEntry;

/// Every kind: one per folder of src/normalizers, in their alphabetic order.
const std::vector<NormalizerEntry>& entries();

/// The entry of `kind`; throws Error(usage) naming the nearest kind when there is none.
const NormalizerEntry& find(std::string_view kind);

/// The kinds as a table for base::KindSection: `KindSection normalizer{&normalizer_kinds, ...}`.
const std::vector<base::KindEntry>& normalizer_kinds();

/// The normalizer that a config section asks for.
std::unique_ptr<kernels::AttentionNormalizer> make(const base::KindSection& section);

}  // namespace ssmax::normalizers
