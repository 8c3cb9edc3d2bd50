#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/config.h"

/// A small config with one field of each type, two kinds and a section within a kind's options.
namespace ssmax::fixture {

enum class Shape { constant, cosine, linear };

constexpr auto enum_names(Shape) {
  return std::to_array<base::EnumName<Shape>>(
      {{Shape::constant, "constant"}, {Shape::cosine, "cosine"}, {Shape::linear, "linear"}});
}

struct Plain {
  static constexpr auto fields() { return std::tuple(); }
};

struct Scale {
  bool learn = true;
  double initial = 1.0;

  static constexpr auto fields() {
    return std::tuple(
        base::field("learn", &Scale::learn, "Whether the scale is learned"),
        base::field("initial", &Scale::initial, "Its first value", base::above(0), base::below(9)));
  }
};

struct Scaled {
  bool learn_scale = true;
  double initial_scale = 0.43;
  Scale scale;

  static constexpr auto fields() {
    return std::tuple(
        base::field("learn_scale", &Scaled::learn_scale, "Whether s is learned"),
        base::field("initial_scale", &Scaled::initial_scale, "s at the start", base::at_least(0)),
        base::field("scale", &Scaled::scale, "A second scale"));
  }
};

inline const std::vector<base::KindEntry>& kinds() {
  static const std::vector<base::KindEntry> table = {
      {"plain", "No options", &base::make_section<Plain>},
      {"scaled", "Scaled by s", &base::make_section<Scaled>}};
  return table;
}

struct Model {
  std::int64_t width = 8;
  std::int64_t heads = 2;
  base::KindSection normalizer{&kinds, "plain"};

  static constexpr auto fields() {
    return std::tuple(base::field("width", &Model::width, "Channels", base::at_least(1)),
                      base::field("heads", &Model::heads, "Heads", base::at_least(1)),
                      base::field("normalizer", &Model::normalizer, "The normalizer"));
  }

  void validate() const {
    if (heads > 0 && width % heads != 0) {
      throw base::FieldError("heads", "must divide width " + std::to_string(width));
    }
  }
};

struct Data {
  std::vector<std::string> train = {"a.bin"};
  std::vector<std::string> others;
  std::string name = "run";

  static constexpr auto fields() {
    return std::tuple(base::field("train", &Data::train, "Shards", base::non_empty()),
                      base::field("others", &Data::others, "More shards"),
                      base::field("name", &Data::name, "Name", base::non_empty()));
  }
};

struct RunConfig {
  std::int64_t seed = 1337;
  double rate = 6e-4;
  Shape shape = Shape::constant;
  bool tied = false;
  Model model;
  Data data;

  static constexpr auto fields() {
    return std::tuple(
        base::field("seed", &RunConfig::seed, "Seed of all random numbers"),
        base::field("rate", &RunConfig::rate, "Learning rate", base::above(0), base::at_most(1)),
        base::field("shape", &RunConfig::shape, "Shape of the schedule"),
        base::field("tied", &RunConfig::tied, "Whether embeddings are tied"),
        base::field("model", &RunConfig::model, "The model"),
        base::field("data", &RunConfig::data, "The data"));
  }
};

}  // namespace ssmax::fixture
