#include "params/parameter_set.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <stdexcept>

#include "base/random.h"
#include "device/parallel.h"

namespace ssmax::params {
namespace {

using Kind = Init::Kind;

/// An embedding, a block with packed q, k, v and a scale, a final norm.
std::vector<ParameterSpec> small_model() {
  return {
      {.name = "embed", .shape = {5, 3}, .init = {Kind::normal, 0.02}},
      {.name = "q", .shape = {4, 3}, .init = {Kind::normal, 0.5}, .section = 1},
      {.name = "k", .shape = {2, 3}, .init = {Kind::normal, 0.5}, .section = 1, .packed = true},
      {.name = "v", .shape = {2, 3}, .init = {Kind::normal, 0.5}, .section = 1, .packed = true},
      {.name = "scale", .shape = {40}, .init = {Kind::constant, 0.25}, .section = 1},
      {.name = "length", .shape = {33}, .init = {Kind::log_length, 0.0}, .section = 3},
  };
}

std::vector<float> values(const ConstTensor& tensor) {
  return {tensor.data<float>(), tensor.data<float>() + tensor.elements()};
}

TEST(ParameterSet, LaysOutSectionsAndPackedParameters) {
  Arena arena;
  const ParameterSet set(small_model(), DType::f32, Gradients::allocate, arena);
  EXPECT_EQ(set.range(0).begin, 0);
  EXPECT_EQ(set.range(1).begin, 32);
  EXPECT_EQ(set.range(2).begin, 32 + 12);
  EXPECT_EQ(set.range(3).begin, 32 + 18);
  EXPECT_EQ(set.range(4).begin, 64);
  EXPECT_EQ(set.range(4).end, 104);
  EXPECT_EQ(set.range(5).begin, 128);
  EXPECT_EQ(set.flat_elements(), 192);
  EXPECT_EQ(set.parameter_elements(), 15 + 12 + 6 + 6 + 40 + 33);
}

TEST(ParameterSet, SectionsTileTheFlatArray) {
  Arena arena;
  const ParameterSet set(small_model(), DType::f32, Gradients::none, arena);
  ASSERT_EQ(set.sections(), 4);
  std::int64_t end = 0;
  for (int section = 0; section < set.sections(); ++section) {
    EXPECT_EQ(set.section(section).begin, end);
    EXPECT_EQ(set.section(section).begin % ParameterSet::kAlignment, 0);
    end = set.section(section).end;
  }
  EXPECT_EQ(end, set.flat_elements());
  EXPECT_EQ(set.section(2).begin, set.section(2).end) << "no parameter names section 2";
  EXPECT_EQ(set.section(1).begin, set.range(1).begin);
}

TEST(ParameterSet, PackedParametersAreOneMatrix) {
  Arena arena;
  const ParameterSet set(small_model(), DType::f32, Gradients::allocate, arena);
  const ConstTensor qkv = set.packed_weight(1, 3);
  EXPECT_EQ(qkv.shape(), (Shape{8, 3}));
  EXPECT_EQ(qkv.rows(6, 2).raw(), set.weight(3).raw());
  EXPECT_EQ(set.packed_gradient(1, 3).rows(4, 2).raw(), set.gradient(2).raw());
}

TEST(ParameterSet, PaddedRowsAreZerosBehindTheParameter) {
  Arena arena;
  std::vector<ParameterSpec> specs = small_model();
  specs[0].padded_rows = 16;
  const ParameterSet set(specs, DType::bf16, Gradients::allocate, arena);
  EXPECT_EQ(set.weight(0).shape(), (Shape{5, 3}));
  EXPECT_EQ(set.padded_weight(0).shape(), (Shape{16, 3}));
  EXPECT_EQ(set.padded_gradient(0).shape(), (Shape{16, 3}));
  EXPECT_EQ(set.padded_weight(0).raw(), set.weight(0).raw());
  EXPECT_EQ(set.range(0).end, 15);
  EXPECT_EQ(set.range(1).begin, 64) << "behind 48 elements";
  EXPECT_EQ(set.parameter_elements(), 15 + 12 + 6 + 6 + 40 + 33);
  Stream stream;
  set.initialize(stream, 7);
  const auto* weights = set.padded_weight(0).data<device::Bf16>();
  for (int i = 0; i < 48; ++i) EXPECT_EQ(static_cast<float>(weights[i]) == 0.0F, i >= 15) << i;

  specs[1].packed = true;
  specs[1].section = 0;
  EXPECT_THROW(ParameterSet(specs, DType::f32, Gradients::none, arena), std::logic_error);
  specs = small_model();
  specs[0].padded_rows = 4;
  EXPECT_THROW(ParameterSet(specs, DType::f32, Gradients::none, arena), std::logic_error);
}

TEST(ParameterSet, FindsByName) {
  Arena arena;
  const ParameterSet set(small_model(), DType::f32, Gradients::none, arena);
  EXPECT_EQ(set.find("v"), 3);
  EXPECT_EQ(set.find("w"), -1);
  EXPECT_TRUE(set.gradient(0).empty());
}

TEST(ParameterSet, DtypesFollowTheActivations) {
  Arena arena;
  const ParameterSet f32(small_model(), DType::f32, Gradients::allocate, arena);
  EXPECT_FALSE(f32.has_compute_copy());
  EXPECT_EQ(f32.weight(1).raw(), f32.master(1).raw());
  const ParameterSet f64(small_model(), DType::f64, Gradients::allocate, arena);
  EXPECT_FALSE(f64.has_compute_copy());
  EXPECT_EQ(f64.master(0).dtype(), DType::f64);
  EXPECT_EQ(f64.gradient(0).dtype(), DType::f64);
  const ParameterSet bf16(small_model(), DType::bf16, Gradients::allocate, arena);
  EXPECT_TRUE(bf16.has_compute_copy());
  EXPECT_EQ(bf16.master(0).dtype(), DType::f32);
  EXPECT_EQ(bf16.weight(0).dtype(), DType::bf16);
  EXPECT_EQ(bf16.gradient(0).dtype(), DType::f32);
}

TEST(ParameterSet, PlansWithoutMemory) {
  Arena planned({}, device::ArenaMode::plan);
  const ParameterSet plan(small_model(), DType::bf16, Gradients::allocate, planned);
  Arena real;
  const ParameterSet set(small_model(), DType::bf16, Gradients::allocate, real);
  EXPECT_EQ(planned.bytes(), real.bytes());
  EXPECT_EQ(planned.bytes(), 192 * (4 + 2 + 4));
  ASSERT_EQ(planned.report().size(), 3U);
  EXPECT_EQ(planned.report()[0].label, "weights (master)");
  EXPECT_EQ(planned.report()[1].label, "weights (bf16 copy)");
  EXPECT_EQ(planned.report()[2].label, "gradients");
  EXPECT_TRUE(plan.has_compute_copy());
  EXPECT_EQ(plan.packed_weight(1, 3).shape(), (Shape{8, 3}));
  EXPECT_EQ(plan.packed_weight(1, 3).raw(), nullptr);
}

TEST(ParameterSet, InitializesEveryElementFromSeedNameAndIndex) {
  Arena arena;
  const ParameterSet set(small_model(), DType::f32, Gradients::none, arena);
  Stream stream;
  set.initialize(stream, 7);
  const auto k = values(set.master(2));
  for (std::size_t i = 0; i < k.size(); ++i) {
    EXPECT_EQ(k[i], static_cast<float>(0.5 * base::random_normal(7, base::random_stream("k"), i)));
  }
  for (const float value : values(set.master(4))) EXPECT_EQ(value, 0.25F);
  const auto length = values(set.master(5));
  for (std::size_t i = 0; i < length.size(); ++i) {
    EXPECT_EQ(length[i], static_cast<float>(std::log(static_cast<double>(i + 1))));
  }
}

TEST(ParameterSet, GapsStayZero) {
  Arena arena;
  const ParameterSet set(small_model(), DType::bf16, Gradients::none, arena);
  Stream stream;
  set.initialize(stream, 7);
  std::vector<bool> used(static_cast<std::size_t>(set.flat_elements()));
  for (int i = 0; i < set.count(); ++i) {
    for (std::int64_t e = set.range(i).begin; e < set.range(i).end; ++e) {
      used[static_cast<std::size_t>(e)] = true;
    }
  }
  for (std::size_t e = 0; e < used.size(); ++e) {
    if (used[e]) continue;
    EXPECT_EQ(set.flat_master().data<float>()[e], 0.0F) << e;
    EXPECT_EQ(set.flat_compute().data<device::Bf16>()[e].bits, 0) << e;
  }
}

TEST(ParameterSet, TheCopyIsTheRoundedMaster) {
  Arena arena;
  const ParameterSet set(small_model(), DType::bf16, Gradients::none, arena);
  Stream stream;
  set.initialize(stream, 7);
  const auto expect_rounded = [&] {
    for (std::int64_t e = 0; e < set.flat_elements(); ++e) {
      const device::Bf16 rounded(set.flat_master().data<float>()[e]);
      EXPECT_EQ(set.flat_compute().data<device::Bf16>()[e].bits, rounded.bits) << e;
    }
  };
  expect_rounded();
  set.master(5).data<float>()[2] = 1.2345F;
  set.refresh_compute(stream);
  expect_rounded();
}

TEST(ParameterSet, OneParameterAloneDrawsTheSame) {
  Arena arena;
  Stream stream;
  const ParameterSet all(small_model(), DType::f32, Gradients::none, arena);
  all.initialize(stream, 11);
  const ParameterSet one(small_model(), DType::f32, Gradients::none, arena);
  one.initialize(stream, 11, 3);
  EXPECT_EQ(values(all.master(3)), values(one.master(3)));
  for (const float value : values(one.master(1))) EXPECT_EQ(value, 0.0F);
  one.initialize(stream, 12, 3);
  EXPECT_NE(values(all.master(3)), values(one.master(3)));
}

TEST(ParameterSet, ThreadsDoNotChangeTheDraw) {
  // More than one host chunk and many tasks, so that a wrong offset would show.
  const std::vector<ParameterSpec> specs = {
      {.name = "big", .shape = {1100, 1000}, .init = {Kind::normal, 1.0}}};
  Arena arena;
  Stream stream;
  const ParameterSet two(specs, DType::f32, Gradients::none, arena);
  two.initialize(stream, 3);
  device::set_cpu_threads(1);
  const ParameterSet one(specs, DType::f32, Gradients::none, arena);
  one.initialize(stream, 3);
  device::set_cpu_threads(0);
  EXPECT_EQ(std::memcmp(one.flat_master().raw(), two.flat_master().raw(),
                        static_cast<std::size_t>(one.flat_master().bytes())),
            0);
  double mean = 0.0;
  double square = 0.0;
  for (const float value : values(one.master(0))) {
    mean += value / 1.1e6;
    square += static_cast<double>(value) * value / 1.1e6;
  }
  // Five standard errors of mean and variance for 1.1e6 independent draws.
  EXPECT_NEAR(mean, 0.0, 5.0 / std::sqrt(1.1e6));
  EXPECT_NEAR(square, 1.0, 5.0 * std::sqrt(2.0 / 1.1e6));
}

TEST(ParameterSet, RefusesWrongLists) {
  Arena arena;
  const auto make = [&](std::vector<ParameterSpec> specs) {
    ParameterSet(std::move(specs), DType::f32, Gradients::none, arena);
  };
  EXPECT_THROW(make({{.name = "a", .shape = {1}}, {.name = "a", .shape = {1}}}), std::logic_error);
  EXPECT_THROW(make({{.name = "a", .shape = {}}}), std::logic_error);
  EXPECT_THROW(make({{.name = "a", .shape = {1}, .section = 2}, {.name = "b", .shape = {1}}}),
               std::logic_error);
  EXPECT_THROW(make({{.name = "a", .shape = {2, 3}, .packed = true}}), std::logic_error);
  EXPECT_THROW(
      make({{.name = "a", .shape = {2, 3}}, {.name = "b", .shape = {2, 4}, .packed = true}}),
      std::logic_error);
  EXPECT_THROW(make({{.name = "a", .shape = {2}},
                     {.name = "b", .shape = {2}, .section = 1, .packed = true}}),
               std::logic_error);
  EXPECT_NO_THROW(make({{.name = "a", .shape = {2}}, {.name = "b", .shape = {3}, .packed = true}}));
}

Storage sharded(int rank, int ranks) {
  Storage storage(Gradients::allocate);
  storage.optimizer = OptimizerState::sharded;
  storage.rank = rank;
  storage.ranks = ranks;
  return storage;
}

TEST(ParameterSet, EveryElementHasOneOwner) {
  for (const int ranks : {1, 2, 3, 8}) {
    std::vector<int> owners;
    for (int rank = 0; rank < ranks; ++rank) {
      Arena arena;
      const ParameterSet set(small_model(), DType::bf16, sharded(rank, ranks), arena);
      owners.resize(static_cast<std::size_t>(set.flat_elements()));
      std::int64_t offset = 0;
      for (const Piece& piece : set.owned()) {
        EXPECT_EQ(piece.offset, offset);
        offset += piece.range.count();
        for (std::int64_t i = piece.range.begin; i < piece.range.end; ++i) {
          ++owners[static_cast<std::size_t>(i)];
        }
      }
      EXPECT_EQ(offset, set.flat_elements() / ranks);
      EXPECT_EQ(set.flat_master().elements(), offset);
      for (int section = 0; section < set.sections(); ++section) {
        EXPECT_EQ(set.section(section).count() % (ParameterSet::kAlignment * ranks), 0);
      }
      if (ranks == 1) {
        EXPECT_EQ(set.owned().size(), 1U);
      }
    }
    for (std::size_t i = 0; i < owners.size(); ++i) EXPECT_EQ(owners[i], 1) << i << " of " << ranks;
  }
}

/// What a rank holds of a partial master, and all of what its kernels read, is as in a whole one.
TEST(ParameterSet, APartialMasterStartsAsTheWhole) {
  std::vector<ParameterSpec> specs = small_model();
  specs[4].exact = true;
  Stream stream;
  for (const int ranks : {2, 3}) {
    std::vector<double> exact_sum(40);
    for (int rank = 0; rank < ranks; ++rank) {
      Arena arena;
      Storage whole_storage = sharded(rank, ranks);
      whole_storage.optimizer = OptimizerState::whole;
      const ParameterSet whole(specs, DType::bf16, whole_storage, arena);
      const ParameterSet part(specs, DType::bf16, sharded(rank, ranks), arena);
      whole.initialize(stream, 7);
      part.initialize(stream, 7);
      EXPECT_TRUE(part.has_partial_master());
      EXPECT_THROW(part.master(0), std::logic_error);
      EXPECT_THROW(part.exact_weight(0), std::logic_error);
      for (const Piece& piece : part.owned()) {
        EXPECT_EQ(values(part.master_of(piece)),
                  values(whole.flat_master().rows(piece.range.begin, piece.range.count())));
      }
      EXPECT_EQ(std::memcmp(part.flat_compute().raw(), whole.flat_compute().raw(),
                            static_cast<std::size_t>(whole.flat_compute().bytes())),
                0);
      EXPECT_EQ(values(part.exact_weight(4)), values(whole.master(4)));
      part.copy_owned_exact(stream);
      for (std::size_t i = 0; i < exact_sum.size(); ++i) {
        exact_sum[i] += part.exact_weight(4).data<float>()[i];
      }
    }
    for (const double value : exact_sum) EXPECT_EQ(value, 0.25);  // each element from one owner
  }
}

}  // namespace
}  // namespace ssmax::params
