#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "normalizers/entmax/entmax.h"
#include "normalizers/log_n/log_n.h"
#include "normalizers/registry.h"
#include "normalizers/sink/sink.h"
#include "normalizers/temperature/temperature.h"
#include "support/attention_case.h"

/// What the conformance tests of normalizers share on all devices.
namespace ssmax::test {

/// All combinations of the bools and enums of a section, nested ones included.
inline void vary(const base::SectionInfo& info, const std::function<void*()>& object,
                 std::size_t field, const std::function<void()>& visit) {
  if (field == info.fields.size()) {
    visit();
    return;
  }
  const base::FieldInfo& f = info.fields[field];
  const auto rest = [&] { vary(info, object, field + 1, visit); };
  if (f.type == base::FieldType::boolean) {
    for (const bool value : {false, true}) {
      *static_cast<bool*>(f.in(object())) = value;
      rest();
    }
  } else if (f.type == base::FieldType::enumeration) {
    for (const auto& name : f.names) {
      f.write_enum(f.in(object()), name.value);
      // A section whose kind is none has nothing else to say.
      f.key == "kind" && name.name == "none" ? visit() : rest();
    }
  } else if (f.type == base::FieldType::section) {
    vary(
        f.section(), [&] { return f.in(object()); }, 0, rest);
  } else {
    rest();
  }
}

/// Options with numbers at which small cases see more than the trivial part of the formula.
inline std::vector<base::AnySection> telling_options(const std::string& kind) {
  using namespace normalizers;
  const auto section = [](const auto& options) { return base::AnySection::of(options); };
  if (kind == "temperature") return {section(temperature::Options{0.3, 4})};
  if (kind == "log_n") return {section(log_n::Options{3})};
  if (kind == "entmax") return {section(entmax::Options{2.0}), section(entmax::Options{1.25})};
  if (kind == "sink") return {section(sink::Options{false, -1.5, {}})};
  return {};
}

struct Scenario {
  const char* name;
  AttentionShape shape;
  Documents documents;
  Bias bias;
};

inline std::vector<std::string> kinds() {
  std::vector<std::string> names;
  for (const auto& entry : normalizers::entries()) names.push_back(entry.kind);
  return names;
}

using Body = std::function<void(const base::AnySection&, const kernels::AttentionNormalizer&,
                                const AttentionCase&)>;

/// Visits every scenario under every section of options of one kind; each scenario has its seed.
inline void for_all(const std::string& kind, const std::vector<base::AnySection>& sections,
                    const std::vector<Scenario>& scenarios, const Body& body) {
  const kernels::NormalizerEntry& entry = normalizers::find(kind);
  for (const base::AnySection& section : sections) {
    const auto normalizer = entry.make(section);
    std::uint64_t seed = 21;
    for (const Scenario& scenario : scenarios) {
      SCOPED_TRACE(kind + base::to_text(section.write()) + " " + scenario.name + ", seed " +
                   std::to_string(seed));
      body(section, *normalizer,
           make_case(scenario.shape, *normalizer, scenario.documents, scenario.bias, seed));
      if (testing::Test::HasFatalFailure()) return;
      ++seed;
    }
  }
}

struct Bounds {
  double value;     // outputs and weights
  double gradient;  // dq, dk, dv
  double scale;     // dc and the gradients of row scales
  double sink;
};

inline void expect_close(const AttentionResult& found, const AttentionResult& exact,
                         const std::vector<kernels::NormalizerParameter>& names,
                         const Bounds& bounds) {
  EXPECT_LT(relative_rms(found.c, exact.c), 1e-6);
  EXPECT_LT(relative_rms(found.weights, exact.weights), 3e-6);
  EXPECT_LT(relative_rms(found.out, exact.out), bounds.value);
  EXPECT_LT(relative_rms(found.dq, exact.dq), bounds.gradient);
  EXPECT_LT(relative_rms(found.dk, exact.dk), bounds.gradient);
  EXPECT_LT(relative_rms(found.dv, exact.dv), bounds.gradient);
  EXPECT_LT(relative_rms(found.dc, exact.dc), bounds.scale);
  for (std::size_t i = 0; i < exact.dparameters.size(); ++i) {
    EXPECT_LT(relative_rms(found.dparameters[i], exact.dparameters[i]),
              names[i].name == "sink" ? bounds.sink : bounds.scale)
        << names[i].name;
  }
}

inline void expect_same_bits(const AttentionResult& a, const AttentionResult& b) {
  for (const auto member : {&AttentionResult::c, &AttentionResult::out, &AttentionResult::rows,
                            &AttentionResult::dq, &AttentionResult::dk, &AttentionResult::dv,
                            &AttentionResult::dc, &AttentionResult::weights}) {
    EXPECT_EQ(a.*member, b.*member);
  }
  EXPECT_EQ(a.dparameters, b.dparameters);
}

/// The case with NaN in the keys that no query sees, as memory that nobody has written may hold.
inline AttentionCase with_unwritten_keys(AttentionCase c) {
  const AttentionShape& s = c.shape;
  const std::int64_t row = s.groups * s.head_size;
  for (std::int64_t i = 0; i < s.batch * s.keys() * row; ++i) {
    if (i / row % s.keys() < s.first_position + s.time) continue;
    for (auto* values : {&c.k, &c.v}) (*values)[static_cast<std::size_t>(i)] = std::nan("");
  }
  return c;
}

/// The case with its queries times `factor`, a power of two so that bf16 holds them.
inline AttentionCase with_scores_times(double factor, AttentionCase c) {
  for (double& q : c.q) q *= factor;
  return c;
}

/// The case with two of three keys times 2^-13: rows begin with scores of 1e-4, then have both.
inline AttentionCase with_small_keys(AttentionCase c) {
  const auto width = static_cast<std::size_t>(c.shape.groups * c.shape.head_size);
  for (std::size_t i = 0; i < c.k.size(); ++i) {
    if (i / width % 3 != 2) c.k[i] *= 0x1p-13;
  }
  return c;
}

/// Scores of 1e-2, 1e-4 and 1e-6, and mixed with larger ones.
inline std::vector<AttentionCase> with_small_scores(const AttentionCase& c) {
  return {with_scores_times(0x1p-7, c), with_scores_times(0x1p-13, c),
          with_scores_times(0x1p-20, c), with_small_keys(c)};
}

/// Query t alone, with the keys up to it as its cache.
inline AttentionCase single_query(const AttentionCase& c, std::int64_t t) {
  const AttentionShape& s = c.shape;
  AttentionCase one = c;
  one.shape.time = 1;
  one.shape.first_position = s.first_position + t;
  one.shape.spare_keys = s.keys() - one.shape.first_position - 1;
  one.first_key.clear();
  const auto row = static_cast<std::size_t>(s.heads * s.head_size);
  for (auto* rows : {&one.q, &one.dout}) {
    const std::vector<double> all = *rows;
    rows->clear();
    for (std::int64_t b = 0; b < s.batch; ++b) {
      const auto from = all.begin() + (b * s.time + t) * static_cast<std::int64_t>(row);
      rows->insert(rows->end(), from, from + static_cast<std::int64_t>(row));
    }
  }
  for (std::int64_t b = 0; b < s.batch && !c.first_key.empty(); ++b) {
    one.first_key.push_back(static_cast<std::int32_t>(c.first(b, t)));
  }
  return one;
}

}  // namespace ssmax::test
