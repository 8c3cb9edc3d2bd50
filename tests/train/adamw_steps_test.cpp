// Three AdamW steps of two micro-batches each against PyTorch in float64; the numbers are made by
// scripts/make_golden.py.

#include <gtest/gtest.h>

#include "model/golden_fixture.h"
#include "optim/adamw_optimizer.h"

namespace ssmax::train {
namespace {

using namespace ssmax::model;

TEST(AdamwSteps, AgreeWithPyTorch) {
  const Golden golden("adamw_steps");
  Stream stream;
  Arena arena;
  const Model model(golden.config(), DType::f64, params::Gradients::allocate, arena);
  golden.load_weights(stream, model, "weights/");
  const params::ParameterSet& set = model.parameters();
  optim::AdamwOptimizer optimizer(set, optim::OptimizerConfig{}, arena);

  const std::vector<std::int32_t> tokens = golden.integers("tokens");
  const std::vector<std::int32_t> targets = golden.integers("targets");
  const std::vector<double> rates = golden.values("learning_rates");
  const std::vector<double> losses = golden.values("losses");
  const std::vector<double> norms = golden.values("gradient_norms");
  const auto micro_rows = static_cast<std::int64_t>(tokens.size()) / 6;
  const Shape shape{micro_rows / golden.length(), golden.length()};
  ActivationOptions options;
  options.batch = shape[0];
  options.length = shape[1];
  options.dtype = DType::f64;
  Activations activations(golden.config(), model.attention_row_values(), options, arena);

  for (std::size_t step = 0; step < 3; ++step) {
    device::fill_zero(stream, set.flat_gradients());
    for (std::size_t micro = 0; micro < 2; ++micro) {
      const auto first = static_cast<std::int64_t>(2 * step + micro) * micro_rows;
      TokenBatch batch;
      batch.tokens = device::view(tokens.data() + first, shape);
      batch.targets = device::view(targets.data() + first, shape);
      model.forward_for_training(stream, activations, batch, 0.5 / static_cast<double>(micro_rows));
      model.backward(stream, activations, batch, {});
      double loss = 0.0;
      for (const double value : values_of(activations.losses)) loss += value;
      // Sums of some dozen doubles.
      EXPECT_NEAR(loss / static_cast<double>(micro_rows), losses[2 * step + micro], 1e-10);
    }
    optimizer.step(stream, rates[step]);
    const optim::StepNorms measured = optimizer.read(stream);
    EXPECT_NEAR(measured.gradient_norm, norms[step], 1e-9 * norms[step]);
    const std::string prefix = "after_" + std::to_string(step + 1) + "/";
    for (int i = 0; i < set.count(); ++i) {
      const std::string& name = set.specs()[static_cast<std::size_t>(i)].name;
      // Stored as F32; Adam's ratio of moments is well conditioned but where a gradient is near 0.
      EXPECT_LE(relative_error(values_of(set.master(i)), golden.values(prefix + name)), 2e-7)
          << name;
    }
  }
}

}  // namespace
}  // namespace ssmax::train
