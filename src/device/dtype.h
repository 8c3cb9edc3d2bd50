#pragma once

#include <bit>
#include <cstdint>
#include <string_view>

#include "base/host_device.h"

namespace ssmax::device {

enum class DType : std::uint8_t { f32, bf16, f64, i32 };

/// Bytes of one element.
constexpr std::int64_t size_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::bf16:
      return 2;
    case DType::f64:
      return 8;
  }
  return 0;
}

constexpr std::string_view name_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "f32";
    case DType::bf16:
      return "bf16";
    case DType::f64:
      return "f64";
    case DType::i32:
      return "i32";
  }
  return "";
}

/// The upper half of an IEEE float; conversions round to nearest, ties to even.
struct Bf16 {
  std::uint16_t bits = 0;

  Bf16() = default;
  HD explicit Bf16(float value) {
    const auto word = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t rounded = word + 0x7fffU + ((word >> 16) & 1U);
    const bool is_nan = (word & 0x7fffffffU) > 0x7f800000U;
    bits = static_cast<std::uint16_t>((is_nan ? (word | 0x00400000U) : rounded) >> 16);
  }
  HD explicit Bf16(double value) : Bf16(static_cast<float>(value)) {}
  HD explicit operator float() const {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
  }
  HD explicit operator double() const { return static_cast<float>(*this); }
};

template <class T>
inline constexpr DType kDTypeOf = [] {
  static_assert(sizeof(T) == 0, "not an element type");
  return DType::f32;
}();
template <>
inline constexpr DType kDTypeOf<float> = DType::f32;
template <>
inline constexpr DType kDTypeOf<Bf16> = DType::bf16;
template <>
inline constexpr DType kDTypeOf<double> = DType::f64;
template <>
inline constexpr DType kDTypeOf<std::int32_t> = DType::i32;

/// The type that sums and statistics of T use: float for float and bf16, double for double.
template <class T>
struct AccumulatorOf {
  using type = float;
};
template <>
struct AccumulatorOf<double> {
  using type = double;
};
template <class T>
using Accumulator = typename AccumulatorOf<T>::type;

/// The dtype of statistics, losses, gradients and master weights beside activations of `dtype`.
constexpr DType accumulator_dtype(DType dtype) {
  return dtype == DType::f64 ? DType::f64 : DType::f32;
}

/// Calls `work(Tag<T>{})` for the floating element type of `dtype`.
template <class T>
struct Tag {
  using type = T;
};

template <class Work>
decltype(auto) dispatch(DType dtype, Work&& work) {
  switch (dtype) {
    case DType::bf16:
      return work(Tag<Bf16>{});
    case DType::f64:
      return work(Tag<double>{});
    default:
      return work(Tag<float>{});
  }
}

}  // namespace ssmax::device
