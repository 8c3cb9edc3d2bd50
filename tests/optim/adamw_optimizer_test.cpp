#include "optim/adamw_optimizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <stdexcept>

#include "base/random.h"

namespace ssmax::optim {
namespace {

using device::DType;
using params::Init;
using params::ParameterSpec;

std::vector<ParameterSpec> specs() {
  return {
      {.name = "matrix", .shape = {7, 9}, .init = {Init::Kind::normal, 1.0}},
      {.name = "second", .shape = {3, 5}, .init = {Init::Kind::normal, 1.0}},
      {.name = "gain", .shape = {11}, .init = {Init::Kind::constant, 1.0}},
      {.name = "scale", .shape = {4}, .init = {Init::Kind::constant, 0.5}, .section = 1},
  };
}

/// One model's parameters and optimizer.
struct Fixture {
  explicit Fixture(DType dtype, const OptimizerConfig& config = {})
      : parameters(specs(), dtype, params::Gradients::allocate, arena),
        optimizer(parameters, config, arena) {
    parameters.initialize(stream, 1);
  }

  template <class T>
  void draw_gradients(std::uint64_t step) {
    for (int p = 0; p < parameters.count(); ++p) {
      T* gradient = parameters.gradient(p).data<T>();
      for (std::int64_t i = 0; i < parameters.gradient(p).elements(); ++i) {
        gradient[i] = static_cast<T>(base::random_normal(100 + step, static_cast<std::uint64_t>(p),
                                                         static_cast<std::uint64_t>(i)));
      }
    }
  }

  Stream stream;
  Arena arena;
  ParameterSet parameters;
  AdamwOptimizer optimizer;
};

/// The same in plain loops over parameters, each with its own count.
struct Reference {
  struct Parameter {
    std::vector<double> weight, first, second;
    bool decays = false;
    int count = 0;
  };

  explicit Reference(const ParameterSet& set) {
    for (int p = 0; p < set.count(); ++p) {
      const double* data = set.master(p).data<double>();
      const auto elements = static_cast<std::size_t>(set.master(p).elements());
      parameters.push_back({.weight = {data, data + elements},
                            .first = std::vector<double>(elements),
                            .second = std::vector<double>(elements),
                            .decays = set.specs()[static_cast<std::size_t>(p)].decays()});
    }
  }

  double step(const ParameterSet& set, const OptimizerConfig& c, double rate) {
    double square = 0.0;
    for (int p = 0; p < set.count(); ++p) {
      const double* g = set.gradient(p).data<double>();
      square = std::inner_product(g, g + set.gradient(p).elements(), g, square);
    }
    const double norm = std::sqrt(square);
    const double clip = c.clip_norm > 0.0 ? std::min(1.0, c.clip_norm / norm) : 1.0;
    for (int p = 0; p < set.count(); ++p) {
      Parameter& parameter = parameters[static_cast<std::size_t>(p)];
      ++parameter.count;
      for (std::size_t i = 0; i < parameter.weight.size(); ++i) {
        const double g = clip * set.gradient(p).data<double>()[i];
        double& m = parameter.first[i];
        double& v = parameter.second[i];
        m = c.beta1 * m + (1.0 - c.beta1) * g;
        v = c.beta2 * v + (1.0 - c.beta2) * g * g;
        const double mean = m / (1.0 - std::pow(c.beta1, parameter.count));
        const double root = std::sqrt(v / (1.0 - std::pow(c.beta2, parameter.count)));
        double& w = parameter.weight[i];
        w -= rate * (parameter.decays ? c.weight_decay * w : 0.0);
        w -= rate * mean / (root + c.eps);
      }
    }
    return norm;
  }

  std::vector<Parameter> parameters;
};

void expect_close(const ParameterSet& set, const Reference& reference) {
  for (int p = 0; p < set.count(); ++p) {
    const auto& weight = reference.parameters[static_cast<std::size_t>(p)].weight;
    for (std::size_t i = 0; i < weight.size(); ++i) {
      // Both work in double; a few operations per step in another order.
      EXPECT_NEAR(set.master(p).data<double>()[i], weight[i], 1e-13) << "parameter " << p;
    }
  }
}

TEST(AdamwOptimizer, AgreesWithPlainLoops) {
  for (const double clip_norm : {0.0, 1.0, 1e3}) {
    const OptimizerConfig config{.weight_decay = 0.1, .clip_norm = clip_norm};
    Fixture fixture(DType::f64, config);
    Reference reference(fixture.parameters);
    for (std::uint64_t step = 0; step < 5; ++step) {
      fixture.draw_gradients<double>(step);
      const double rate = 1e-2 / static_cast<double>(step + 1);
      const double norm = reference.step(fixture.parameters, config, rate);
      fixture.optimizer.step(fixture.stream, rate);
      const StepNorms norms = fixture.optimizer.read(fixture.stream);
      EXPECT_NEAR(norms.gradient_norm, norm, 1e-12 * norm);
      EXPECT_NEAR(norms.clip_factor, clip_norm > 0.0 ? std::min(1.0, clip_norm / norm) : 1.0,
                  1e-12);
      EXPECT_TRUE(norms.finite);
    }
    expect_close(fixture.parameters, reference);
  }
}

TEST(AdamwOptimizer, OnlyMatricesDecay) {
  Fixture fixture(DType::f32, {.weight_decay = 0.5});
  fixture.optimizer.step(fixture.stream, 0.1);  // gradients are zero
  fixture.optimizer.read(fixture.stream);
  const double drawn = base::random_normal(1, base::random_stream("matrix"), 0);
  EXPECT_FLOAT_EQ(fixture.parameters.master(0).data<float>()[0], static_cast<float>(drawn * 0.95));
  EXPECT_EQ(fixture.parameters.master(2).data<float>()[0], 1.0F);
  EXPECT_EQ(fixture.parameters.master(3).data<float>()[0], 0.5F);
}

TEST(AdamwOptimizer, EveryParameterHasItsOwnCount) {
  const OptimizerConfig config;
  Fixture fixture(DType::f64, config);
  Reference reference(fixture.parameters);
  // As after a swap: three parameters have a past, the last is new.
  const std::vector<std::int64_t> counts = {40, 41, 42, 0};
  fixture.optimizer.set_step_counts(counts);
  for (std::size_t p = 0; p < 4; ++p) {
    reference.parameters[p].count = static_cast<int>(counts[p]);
  }
  for (std::uint64_t step = 0; step < 3; ++step) {
    fixture.draw_gradients<double>(step);
    reference.step(fixture.parameters, config, 1e-2);
    fixture.optimizer.step(fixture.stream, 1e-2);
    fixture.optimizer.read(fixture.stream);
  }
  expect_close(fixture.parameters, reference);
  EXPECT_TRUE(std::ranges::equal(fixture.optimizer.step_counts(),
                                 std::vector<std::int64_t>{43, 44, 45, 3}));
}

TEST(AdamwOptimizer, ANormThatIsNotFiniteChangesNothing) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const float poison :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      Fixture fixture(dtype);
      fixture.draw_gradients<float>(0);
      fixture.optimizer.step(fixture.stream, 1e-2);
      fixture.optimizer.read(fixture.stream);
      const auto bytes = [](const ConstTensor& t) {
        const auto* begin = static_cast<const char*>(t.raw());
        return std::vector<char>(begin, begin + t.bytes());
      };
      const auto snapshot = [&] {
        auto all = bytes(fixture.parameters.flat_master());
        for (const auto& more :
             {bytes(fixture.parameters.flat_compute()),
              bytes(fixture.parameters.slice(fixture.optimizer.flat_first_moment(), 0)),
              bytes(fixture.parameters.slice(fixture.optimizer.flat_second_moment(), 3))}) {
          all.insert(all.end(), more.begin(), more.end());
        }
        return all;
      };
      const auto before = snapshot();
      fixture.draw_gradients<float>(1);
      fixture.parameters.gradient(3).data<float>()[1] = poison;
      fixture.optimizer.step(fixture.stream, 1e-2);
      EXPECT_FALSE(fixture.optimizer.read(fixture.stream).finite);
      EXPECT_EQ(snapshot(), before);
      EXPECT_EQ(fixture.optimizer.step_counts()[0], 1);
      fixture.optimizer.measure(fixture.stream);
      EXPECT_FALSE(fixture.optimizer.read(fixture.stream).finite);
      fixture.optimizer.update(fixture.stream, 1e-2);
      EXPECT_EQ(snapshot(), before);
      EXPECT_EQ(fixture.optimizer.step_counts()[0], 1);
      fixture.draw_gradients<float>(2);
      fixture.optimizer.step(fixture.stream, 1e-2);
      EXPECT_TRUE(fixture.optimizer.read(fixture.stream).finite);
      EXPECT_NE(snapshot(), before);
      EXPECT_EQ(fixture.optimizer.step_counts()[0], 2);
    }
  }
}

TEST(AdamwOptimizer, AStepMayBeRefusedAfterItsNormIsKnown) {
  Fixture judged(DType::f32);
  Fixture straight(DType::f32);
  for (std::uint64_t step = 0; step < 4; ++step) {
    judged.draw_gradients<float>(step);
    judged.optimizer.measure(judged.stream);
    const StepNorms norms = judged.optimizer.read(judged.stream);
    if (step == 2) continue;  // refused
    judged.optimizer.update(judged.stream, 1e-2);
    straight.draw_gradients<float>(step);
    straight.optimizer.step(straight.stream, 1e-2);
    EXPECT_EQ(straight.optimizer.read(straight.stream).gradient_norm, norms.gradient_norm);
  }
  EXPECT_EQ(
      std::memcmp(judged.parameters.flat_master().raw(), straight.parameters.flat_master().raw(),
                  static_cast<std::size_t>(judged.parameters.flat_master().bytes())),
      0);
  EXPECT_EQ(judged.optimizer.step_counts()[1], 3);
  EXPECT_EQ(straight.optimizer.step_counts()[1], 3);
}

TEST(AdamwOptimizer, RefreshesTheBf16Copy) {
  Fixture fixture(DType::bf16);
  fixture.draw_gradients<float>(0);
  fixture.optimizer.step(fixture.stream, 1e-1);
  fixture.optimizer.read(fixture.stream);
  for (std::int64_t i = 0; i < fixture.parameters.flat_elements(); ++i) {
    const device::Bf16 rounded(fixture.parameters.flat_master().data<float>()[i]);
    EXPECT_EQ(fixture.parameters.flat_compute().data<device::Bf16>()[i].bits, rounded.bits) << i;
  }
}

TEST(AdamwOptimizer, ShowsMomentsByParameter) {
  Fixture fixture(DType::f32, {.clip_norm = 0.0});
  fixture.draw_gradients<float>(0);
  fixture.optimizer.step(fixture.stream, 1e-2);
  fixture.optimizer.read(fixture.stream);
  EXPECT_EQ(fixture.parameters.slice(fixture.optimizer.flat_first_moment(), 1).shape(),
            (device::Shape{3, 5}));
  for (int p = 0; p < 4; ++p) {
    for (std::int64_t i = 0; i < fixture.parameters.gradient(p).elements(); ++i) {
      const float g = fixture.parameters.gradient(p).data<float>()[i];
      EXPECT_FLOAT_EQ(
          fixture.parameters.slice(fixture.optimizer.flat_first_moment(), p).data<float>()[i],
          0.1F * g);
      EXPECT_FLOAT_EQ(
          fixture.parameters.slice(fixture.optimizer.flat_second_moment(), p).data<float>()[i],
          0.05F * g * g);
    }
  }
}

TEST(AdamwOptimizer, RefusesCallsOutOfOrder) {
  Fixture fixture(DType::f32);
  EXPECT_THROW(fixture.optimizer.read(fixture.stream), std::logic_error);
  EXPECT_THROW(fixture.optimizer.update(fixture.stream, 1e-2), std::logic_error);
  fixture.optimizer.step(fixture.stream, 1e-2);
  EXPECT_THROW(fixture.optimizer.measure(fixture.stream), std::logic_error);
  EXPECT_THROW(fixture.optimizer.update(fixture.stream, 1e-2), std::logic_error);
  Arena arena;
  const ParameterSet frozen(specs(), DType::f32, params::Gradients::none, arena);
  EXPECT_THROW(AdamwOptimizer(frozen, {}, arena), std::logic_error);
}

TEST(AdamwOptimizer, PlansItsMemory) {
  Arena planned({}, device::ArenaMode::plan);
  const ParameterSet parameters(specs(), DType::f32, params::Gradients::allocate, planned);
  const AdamwOptimizer optimizer(parameters, {}, planned);
  ASSERT_EQ(planned.report().size(), 5U);
  EXPECT_EQ(planned.report()[2].label, "first moments");
  EXPECT_EQ(planned.report()[3].label, "second moments");
  EXPECT_EQ(planned.report()[3].bytes, parameters.flat_elements() * 4);
  EXPECT_EQ(parameters.slice(optimizer.flat_first_moment(), 0).shape(), (device::Shape{7, 9}));
}

}  // namespace
}  // namespace ssmax::optim
