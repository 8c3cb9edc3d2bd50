#include "kernels/dispatch_cuda.cuh"
#include "kernels/swiglu/swiglu_launch.h"

namespace ssmax::kernels::cuda {

namespace {

/// The place of a thread's elements: F features of one row, kCount to a thread.
struct RowPlace {
  __device__ RowPlace(std::int64_t i, std::int64_t F, int count)
      : row(i * count / F), feature(i * count - row * F) {}

  std::int64_t row;
  std::int64_t feature;
};

template <int kCount, class T>
struct Swiglu {
  T* out;            // (M, F)
  const T* gate_up;  // (M, 2 F)
  std::int64_t F;

  __device__ void operator()(std::int64_t i) const {
    const RowPlace at(i, F, kCount);
    const T* gates = gate_up + at.row * 2 * F + at.feature;
    auto gate = device::load_values<kCount>(gates);
    const auto up = device::load_values<kCount>(gates + F);
#pragma unroll
    for (int j = 0; j < kCount; ++j) gate[j] = gate[j] / (1.0F + expf(-gate[j])) * up[j];
    device::store_values<kCount>(out + i * kCount, gate);
  }
};

template <int kCount, class T>
struct SwigluBackward {
  T* dgate_up;       // (M, 2 F), may be gate_up
  const T* dout;     // (M, F)
  const T* gate_up;  // (M, 2 F)
  std::int64_t F;

  __device__ void operator()(std::int64_t i) const {
    const RowPlace at(i, F, kCount);
    const std::int64_t begin = at.row * 2 * F + at.feature;
    auto gate = device::load_values<kCount>(gate_up + begin);
    auto up = device::load_values<kCount>(gate_up + begin + F);
    const auto d = device::load_values<kCount>(dout + i * kCount);
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      const float g = gate[j];
      const float s = 1.0F / (1.0F + expf(-g));
      gate[j] = d[j] * up[j] * s * (1.0F + g * (1.0F - s));
      up[j] = d[j] * g * s;
    }
    device::store_values<kCount>(dgate_up + begin, gate);
    device::store_values<kCount>(dgate_up + begin + F, up);
  }
};

}  // namespace

void swiglu(Stream& stream, const Tensor& out, const ConstTensor& gate_up) {
  const std::int64_t F = row_size(out);
  dispatch(out.dtype(), "swiglu", [&]<class T>(device::Tag<T>) {
    T* to = out.data<T>();
    const T* from = gate_up.data<T>();
    dispatch_width<device::kPackSize<T>>({to, from}, F, [&](auto width) {
      constexpr int kCount = decltype(width)::value;
      for_each(stream, out.elements() / kCount, Swiglu<kCount, T>{to, from, F});
    });
  });
}

void swiglu_backward(Stream& stream, const Tensor& dgate_up, const ConstTensor& dout,
                     const ConstTensor& gate_up) {
  const std::int64_t F = row_size(dout);
  dispatch(dout.dtype(), "swiglu_backward", [&]<class T>(device::Tag<T>) {
    T* to = dgate_up.data<T>();
    const T* d = dout.data<T>();
    const T* from = gate_up.data<T>();
    dispatch_width<device::kPackSize<T>>({to, d, from}, F, [&](auto width) {
      constexpr int kCount = decltype(width)::value;
      for_each(stream, dout.elements() / kCount, SwigluBackward<kCount, T>{to, d, from, F});
    });
  });
}

}  // namespace ssmax::kernels::cuda
