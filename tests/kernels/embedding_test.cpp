#include "kernels/embedding/embedding.h"

#include "base/errors.h"
#include "support/op_case.h"

namespace ssmax::kernels {
namespace {

using namespace ssmax::testing;

struct Size {
  std::int64_t B, T, C, V;
};
// Few tokens for many positions, so that rows of the gradient add up several times.
constexpr Size kSizes[] = {{1, 1, 1, 1}, {2, 7, 17, 5}, {3, 50, 64, 11}, {2, 40, 200, 300}};

TEST(Embedding, AgreesWithDouble) {
  for (const bool with_positions : {false, true}) {
    for (const auto [B, T, C, V] : kSizes) {
      check_op({with_positions ? "embedding with positions" : "embedding",
                {{"out", {B, T, C}, Role::output, Type::activation, {}, 1.0},
                 {"tokens", {B, T}, Role::input, Type::token, token_values(B * T, V, 1, 30)},
                 {"token table", {V, C}},
                 {"position table", {T + 3, C}}},
                [with_positions](Stream& stream, std::span<const Tensor> t) {
                  embedding(stream, t[0], t[1], t[2],
                            with_positions ? ConstTensor(t[3]) : ConstTensor(),
                            with_positions ? 3 : 0);
                }});
    }
  }
}

// A row adds at most B T terms, one rounding each.
TEST(Embedding, BackwardAgreesWithDouble) {
  for (const bool with_positions : {false, true}) {
    for (const auto [B, T, C, V] : kSizes) {
      const auto roundings = static_cast<double>(B * T);
      check_op({with_positions ? "embedding_backward with positions" : "embedding_backward",
                {{"token gradient", {V, C}, Role::updated, Type::statistic, {}, roundings},
                 {"position gradient", {T + 3, C}, Role::updated, Type::statistic, {}, roundings},
                 {"tokens", {B, T}, Role::input, Type::token, token_values(B * T, V, 1, 30)},
                 {"dout", {B, T, C}}},
                [with_positions](Stream& stream, std::span<const Tensor> t) {
                  embedding_backward(stream, t[0], with_positions ? t[1] : Tensor(), t[2], t[3]);
                }});
    }
  }
}

TEST(Embedding, GradientIsThatOfTheForward) {
  const GuardedTensor table = f64_normal({4, 3}, 3, 0);
  const GuardedTensor positions = f64_normal({6, 3}, 3, 1);
  const GuardedTensor dout = f64_normal({2, 5, 3}, 3, 2);
  const GuardedTensor out(DType::f64, {2, 5, 3});
  const GuardedTensor tokens(DType::i32, {2, 5});
  tokens.set({0, 1, 3, 1, 1, 0, 0, 3, 3, 1});
  const GuardedTensor dtable = f64_tensor({4, 3}, std::vector<double>(12, 0.0));
  const GuardedTensor dpositions = f64_tensor({6, 3}, std::vector<double>(18, 0.0));
  Stream stream;
  embedding_backward(stream, dtable.tensor(), dpositions.tensor(), tokens.tensor(), dout.tensor());
  const auto loss = [&] {
    embedding(stream, out.tensor(), tokens.tensor(), table.tensor(), positions.tensor());
    return dot(out, dout);
  };
  check_gradient("token gradient", dtable, table, loss);
  check_gradient("position gradient", dpositions, positions, loss);
}

TEST(Embedding, RefusesSequencesLongerThanTheTable) {
  const GuardedTensor out(DType::f32, {1, 4, 3});
  const GuardedTensor tokens(DType::i32, {1, 4});
  const GuardedTensor table(DType::f32, {9, 3});
  const GuardedTensor wide(DType::f32, {9, 4});
  const GuardedTensor positions(DType::f32, {5, 3});
  Stream stream;
  EXPECT_THROW(
      embedding(stream, out.tensor(), tokens.tensor(), table.tensor(), positions.tensor(), 2),
      base::Error);
  EXPECT_THROW(embedding(stream, out.tensor(), tokens.tensor(), wide.tensor(), {}), base::Error);
  EXPECT_THROW(embedding_backward(stream, table.tensor(), table.tensor().rows(0, 3),
                                  tokens.tensor(), out.tensor()),
               base::Error);
}

}  // namespace
}  // namespace ssmax::kernels
