#include <numeric>

#include "checkpoint/checkpoint_fixture.h"

namespace ssmax::checkpoint {
namespace {

using Elements = std::vector<float>;

/// A checkpoint whose tensor "moment" (4, 6) lies in files of several ranks, of which each names
/// the elements [begin, end) and the shape that it believes in.
class FragmentsTest : public testing::Test {
 protected:
  struct Part {
    std::int64_t begin;
    std::int64_t end;
    std::vector<std::int64_t> shape = {4, 6};
  };

  FragmentsTest() { std::iota(values_.begin(), values_.end(), 1.0F); }

  LoadedCheckpoint written(const std::vector<Part>& parts) {
    store_.prepare(0);
    std::vector<TensorFile> files;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const Part& part = parts[i];
      const device::ConstTensor all = device::view(values_.data(), {24});
      files.push_back({optimizer_file_name(static_cast<int>(i), static_cast<int>(parts.size())),
                       {{"moment", all.rows(part.begin, part.end - part.begin),
                         Fragment{part.shape, part.begin}}}});
    }
    Manifest manifest;
    manifest.step = ++step_;
    store_.save(manifest, files);
    return load(run_.path());
  }

  TemporaryFolder run_;
  CheckpointStore store_{run_.path(), 2};
  std::int64_t step_ = 0;
  Elements values_ = Elements(24);
};

TEST_F(FragmentsTest, are_one_tensor) {
  // In any order; "optimizer-00000-of-00003" need not hold the first elements.
  const LoadedCheckpoint loaded = written({{5, 17}, {17, 24}, {0, 5}});
  ASSERT_EQ(loaded.tensors().size(), 1U);
  EXPECT_EQ(loaded.tensors()[0].shape, (std::vector<std::int64_t>{4, 6}));
  EXPECT_EQ(loaded.tensors()[0].elements(), 24);
  Elements whole(24);
  loaded.read("moment", device::view(whole.data(), {4, 6}));
  EXPECT_EQ(whole, values_);
  for (const auto& [first, count] : {std::pair{0, 24}, {3, 1}, {4, 15}, {23, 1}, {16, 2}}) {
    Elements some(static_cast<std::size_t>(count));
    loaded.read_elements("moment", first, device::view(some.data(), {count}));
    EXPECT_TRUE(std::equal(some.begin(), some.end(), values_.begin() + first)) << first;
  }
  std::vector<double> converted(24);
  loaded.read_converted("moment", device::view(converted.data(), {4, 6}));
  EXPECT_TRUE(std::equal(converted.begin(), converted.end(), values_.begin()));
}

TEST_F(FragmentsTest, need_the_dtype_and_shape_that_is_asked_for) {
  const LoadedCheckpoint loaded = written({{0, 7}, {7, 24}});
  std::vector<double> doubles(24);
  EXPECT_NE(checkpoint_error([&] {
              loaded.read("moment", device::view(doubles.data(), {4, 6}));
            }),
            "");
  Elements floats(24);
  EXPECT_NE(checkpoint_error([&] {
              loaded.read_converted("moment", device::view(floats.data(), {6, 4}));
            }),
            "");
}

TEST_F(FragmentsTest, that_overlap_or_leave_a_gap_or_disagree_are_refused) {
  const std::vector<std::vector<Part>> wrong = {
      {{0, 7}, {8, 24}},          // a gap
      {{0, 9}, {8, 24}},          // an overlap
      {{0, 7}, {7, 23}},          // the end is missing
      {{1, 7}, {7, 24}},          // the start is missing
      {{0, 24}, {0, 24}},         // twice
      {{0, 7}, {7, 24, {6, 4}}},  // another shape
  };
  for (const auto& parts : wrong) {
    EXPECT_NE(checkpoint_error([&] { written(parts); }).find("moment"), std::string::npos);
    fs::remove_all(checkpoints_folder(run_.path()));
  }
}

TEST_F(FragmentsTest, of_another_dtype_or_beside_the_whole_are_refused) {
  const std::vector<double> doubles(24);
  const device::ConstTensor all = device::view(values_.data(), {24});
  const NamedTensor whole{"moment", device::view(std::as_const(values_).data(), {4, 6}), {}};
  const NamedTensor front{"moment", all.rows(0, 7), Fragment{{4, 6}, 0}};
  const NamedTensor wide{"moment", device::view(doubles.data(), {24}).rows(7, 17),
                         Fragment{{4, 6}, 7}};
  for (const auto& [first, second] :
       {std::pair(front, wide), std::pair(front, whole), std::pair(whole, whole)}) {
    store_.prepare(0);
    store_.save({}, {{"a.safetensors", {first}}, {"b.safetensors", {second}}});
    EXPECT_NE(checkpoint_error([&] { load(run_.path()); }).find("moment"), std::string::npos);
  }
}

/// The hash keeps accidents away; who writes such a file means it.
TEST_F(FragmentsTest, with_senseless_metadata_are_refused) {
  const device::ConstTensor tensor = device::view(values_.data(), {24});
  const fs::path path = run_.path() / "made.safetensors";
  for (const char* text :
       {"", "elements", "elements from 0 of ()", "elements from -1 of (4, 6)",
        "elements from 1 of (4, 6)", "elements from 0 of (4, 5)", "elements from 0 of (4, 6) ",
        "elements from 00 of (4, 6)", "elements from 99999999999999999999 of (4, 6)",
        "elements from 0 of (9223372036854775807, 9223372036854775807)",
        "elements from 0 of (2305843009213693952)", "elements from 9223372036854775807 of (4, 6)",
        "elements from 0 of (2, 2, 2, 2, 2)"}) {
    fs::remove(path);
    write_safetensors(path, std::vector<NamedTensor>{{"moment", tensor}},
                      {{"fragment.moment", text}});
    const SafetensorsFile file(path);
    EXPECT_NE(checkpoint_error([&] { file.fragment(file.tensors()[0]); }), "") << text;
  }
}

/// Every number of ranks writes the same logical tensors, and every other reads them.
TEST_F(FragmentsTest, of_a_sharded_optimizer_join_for_any_number_of_ranks) {
  const TinyRun whole;
  const auto sharded = [](int rank, int ranks, device::Arena& arena) {
    params::Storage storage(params::Gradients::none);
    storage.optimizer = params::OptimizerState::sharded;
    storage.rank = rank;
    storage.ranks = ranks;
    return params::ParameterSet(TinyRun::specs(), device::DType::bf16, storage, arena);
  };
  const auto moments_of = [](const params::ParameterSet& set, device::Arena& arena) {
    const params::Piece& last = set.updated().back();
    return arena.allocate("moments", device::DType::f32, {last.offset + last.range.count()});
  };
  for (const int ranks : {1, 2, 3, 8}) {
    // Each rank holds the moments of its pieces, filled from the whole by logical place.
    std::vector<TensorFile> files = {{kModelFile, model_tensors(whole.parameters)}};
    device::Arena arena;
    for (int rank = 0; rank < ranks; ++rank) {
      const params::ParameterSet set = sharded(rank, ranks, arena);
      const device::Tensor first = moments_of(set, arena);
      const device::Tensor second = moments_of(set, arena);
      for (int index = 0; index < set.count(); ++index) {
        for (const params::Piece& piece : set.updated()) {
          const params::ElementRange part = intersection(piece.range, set.range(index));
          for (std::int64_t i = part.begin; i < part.end; ++i) {
            const std::int64_t from =
                whole.parameters.range(index).begin + i - set.range(index).begin;
            const std::int64_t to = piece.offset + i - piece.range.begin;
            first.data<float>()[to] = whole.first.data<float>()[from];
            second.data<float>()[to] = whole.second.data<float>()[from];
          }
        }
      }
      files.push_back({optimizer_file_name(rank, ranks), moment_tensors(set, first, second)});
    }
    store_.prepare(0);
    store_.save(whole.manifest(10 + ranks), files);
    const LoadedCheckpoint loaded = load(run_.path());
    expect_holds(loaded, whole);
    for (int rank = 0; rank < 5; ++rank) {
      const params::ParameterSet set = sharded(rank, 5, arena);
      const device::Tensor first = moments_of(set, arena);
      const device::Tensor second = moments_of(set, arena);
      load_parameters(loaded, set);
      load_moments(loaded, set, first, second);
      for (int index = 0; index < set.count(); ++index) {
        for (const params::Piece& piece : set.updated()) {
          const params::ElementRange part = intersection(piece.range, set.range(index));
          for (std::int64_t i = part.begin; i < part.end; ++i) {
            const std::int64_t from =
                whole.parameters.range(index).begin + i - set.range(index).begin;
            const std::int64_t to = piece.offset + i - piece.range.begin;
            ASSERT_EQ(first.data<float>()[to], whole.first.data<float>()[from]);
            ASSERT_EQ(second.data<float>()[to], whole.second.data<float>()[from]);
            ASSERT_EQ(set.master_of(piece).data<float>()[i - piece.range.begin],
                      whole.parameters.flat_master().data<float>()[from]);
            const device::Bf16 rounded(whole.parameters.flat_master().data<float>()[from]);
            ASSERT_EQ(set.flat_compute().data<device::Bf16>()[i].bits, rounded.bits);
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace ssmax::checkpoint
