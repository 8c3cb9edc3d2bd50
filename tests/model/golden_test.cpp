// Losses and gradients against an independent PyTorch implementation in float64; the numbers are
// made by scripts/make_golden.py.

#include <gtest/gtest.h>

#include "model/golden_fixture.h"

namespace ssmax::model {
namespace {

std::vector<std::string> golden_cases() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(golden_folder())) {
    const std::string name = entry.path().stem().string();
    if (entry.path().extension() == ".safetensors" && name != "adamw_steps") names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

struct Bounds {
  double losses;
  double gradients;
};

Bounds bounds_of(DType dtype) {
  switch (dtype) {
    case DType::f64:
      // Sums of at most a few thousand products in double; gradients are stored as F32, 6e-8.
      return {1e-12, 1.2e-7};
    case DType::f32:
      // 2^-24 grown by the depth of the network (about 30 roundings in a row) and by sums.
      return {2e-5, 2e-4};
    default:
      // Root mean squares over all losses and over all gradients. A rounding to bf16 is off by
      // 2^-9 / sqrt(3) = 1.1e-3 on average, some 40 follow each other, and weights of size one make
      // scores of ten and more whose rounding shifts exponents by several per cent; where a minimum
      // or a support is chosen by them (self-adjust, sparsemax) the choice itself can change.
      return {2e-2, 2e-1};
  }
}

std::vector<double> joined(const std::vector<std::vector<double>>& parts) {
  std::vector<double> all;
  for (const std::vector<double>& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

class GoldenModel : public ::testing::TestWithParam<std::string> {
 protected:
  void check(DType dtype) {
    const Golden golden(GetParam());
    Stream stream;
    Arena arena;
    const Model model(golden.config(), dtype, params::Gradients::allocate, arena);
    golden.load_weights(stream, model, "weights/");

    const std::vector<std::int32_t> tokens = golden.integers("tokens");
    const std::vector<std::int32_t> targets = golden.integers("targets");
    const std::vector<std::int32_t> first_key =
        golden.has("first_key") ? golden.integers("first_key") : std::vector<std::int32_t>();
    const auto rows = static_cast<std::int64_t>(tokens.size());
    const Shape shape{rows / golden.length(), golden.length()};
    TokenBatch batch;
    batch.tokens = device::view(tokens.data(), shape);
    batch.targets = device::view(targets.data(), shape);
    if (!first_key.empty()) batch.first_key = device::view(first_key.data(), shape);

    ActivationOptions options;
    options.batch = shape[0];
    options.length = shape[1];
    options.dtype = dtype;
    Activations activations(golden.config(), model.attention_row_values(), options, arena);
    model.forward_for_training(stream, activations, batch, 1.0 / static_cast<double>(rows));
    model.backward(stream, activations, batch, {});

    const Bounds bounds = bounds_of(dtype);
    const params::ParameterSet& set = model.parameters();
    std::vector<std::vector<double>> found;
    std::vector<std::vector<double>> expected;
    for (const params::ParameterSpec& spec : set.specs()) {
      found.push_back(values_of(set.gradient(set.find(spec.name))));
      expected.push_back(golden.values("gradients/" + spec.name));
    }
    const std::vector<double> losses = values_of(activations.losses);
    if (dtype == DType::bf16) {
      EXPECT_LE(rms_error(losses, golden.values("losses")), bounds.losses);
      EXPECT_LE(rms_error(joined(found), joined(expected)), bounds.gradients);
      return;
    }
    EXPECT_LE(relative_error(losses, golden.values("losses")), bounds.losses);
    double floor = 0.0;
    for (const double value : joined(expected)) floor = std::max(floor, 1e-3 * std::abs(value));
    for (std::size_t i = 0; i < found.size(); ++i) {
      EXPECT_LE(relative_error(found[i], expected[i], floor), bounds.gradients)
          << set.specs()[i].name;
    }
  }
};

TEST_P(GoldenModel, DoubleAgrees) { check(DType::f64); }
TEST_P(GoldenModel, FloatAgrees) { check(DType::f32); }
TEST_P(GoldenModel, Bf16Agrees) { check(DType::bf16); }

INSTANTIATE_TEST_SUITE_P(All, GoldenModel, ::testing::ValuesIn(golden_cases()),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace ssmax::model
