#pragma once

namespace ssmax::device {

/// fp32 values in a vector register of the processor that the build is for.
#if defined(__AVX512F__)
inline constexpr int kVectorLanes = 16;
#elif defined(__AVX__)
inline constexpr int kVectorLanes = 8;
#else
inline constexpr int kVectorLanes = 4;
#endif

}  // namespace ssmax::device
