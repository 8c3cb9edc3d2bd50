#pragma once

#include <array>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <string_view>
#include <tuple>

#include "base/field.h"
#include "base/host_device.h"

/// Row scales c = s_h u(n) + b_h: u a function of the number n of visible keys or a learned table,
/// s_h learned or fixed, b_h learned or absent. Every known row scale is of this form. With dc of
/// every row, ds_h = sum u dc, db_h = sum dc, du_n = sum of s_h dc over the rows with n keys.
namespace ssmax::kernels {

/// u = 1: the plain row of Softmax.
struct UnitLength {
  HD double operator()(std::int64_t /*n*/) const { return 1.0; }
};

/// u = ln n: Scalable-Softmax, Nakanishi 2025, arXiv 2501.19399.
struct LogLength {
  HD double operator()(std::int64_t n) const { return std::log(static_cast<double>(n)); }
};

/// u = p_n, learned; one table for all layers and heads (Nakanishi 2025, section 2.1). Rows longer
/// than the table use a1 ln n + a2 fitted to the table by least squares.
struct LearnedLength {};

template <class L>
concept LengthFunction = requires(const L& length) {
  { length(std::int64_t{1}) } -> std::same_as<double>;
};

template <class Length>
struct RowScale {
  Length length{};
  bool learn_scale = false;
  bool bias = false;  ///< learned b_h; without it b = 0
  double initial_scale = 1.0;
  double initial_bias = 0.0;
};

/// Of the option initial_scale; a run resolves its 0 when it starts.
inline constexpr std::string_view kInitialScaleHelp =
    "s at the start; 0 = 1 from scratch, and 1 / mean(ln n) over the training length at a swap, "
    "which keeps the mean scale of the scores";
constexpr double initial_scale_or_one(double value) { return value == 0.0 ? 1.0 : value; }

/// The SSMax family as a section of options, for kinds that compose with it.
enum class ScaleKind : std::uint8_t { none, ssmax };
constexpr auto enum_names(ScaleKind) {
  return std::to_array<base::EnumName<ScaleKind>>(
      {{ScaleKind::none, "none"}, {ScaleKind::ssmax, "ssmax"}});
}

struct ScaleOptions {
  ScaleKind kind = ScaleKind::none;
  bool learn_scale = true;
  bool bias = false;
  double initial_scale = 0.0;
  double initial_bias = 0.0;

  static constexpr auto fields() {
    return std::tuple(
        base::field("kind", &ScaleOptions::kind, "Row scale: none, or ssmax for s ln n + b"),
        base::field("learn_scale", &ScaleOptions::learn_scale,
                    "Learn s of every layer and head; else it stays initial_scale"),
        base::field("bias", &ScaleOptions::bias, "Add a learned b of every layer and head"),
        base::field("initial_scale", &ScaleOptions::initial_scale, kInitialScaleHelp),
        base::field("initial_bias", &ScaleOptions::initial_bias, "b at the start"));
  }

  RowScale<LogLength> row_scale() const {
    return {{}, learn_scale, bias, initial_scale_or_one(initial_scale), initial_bias};
  }
};

}  // namespace ssmax::kernels
