#include "kernels/dispatch_cuda.cuh"
#include "kernels/linear/gelu_cpu.h"
#include "kernels/linear/gelu_launch.h"

namespace ssmax::kernels::cuda {

namespace {

constexpr auto kRoot = static_cast<float>(plain::kGeluRoot);
constexpr auto kCubic = static_cast<float>(plain::kGeluCubic);

// (1 + tanh(u)) / 2 = 1 / (1 + e^(-2 u)): one exponential, no cancellation on the left tail.
__device__ float gate_of(float x) {
  const float u = kRoot * x * (1.0F + kCubic * x * x);
  return 1.0F / (1.0F + expf(-2.0F * u));
}

template <int kCount, class T>
struct Gelu {
  T* out;
  const T* x;

  __device__ void operator()(std::int64_t i) const {
    auto v = device::load_values<kCount>(x + i * kCount);
#pragma unroll
    for (int j = 0; j < kCount; ++j) v[j] *= gate_of(v[j]);
    device::store_values<kCount>(out + i * kCount, v);
  }
};

template <int kCount, class T>
struct GeluBackward {
  T* dx;
  const T* dout;
  const T* x;

  __device__ void operator()(std::int64_t i) const {
    const auto v = device::load_values<kCount>(x + i * kCount);
    auto d = device::load_values<kCount>(dout + i * kCount);
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      const float s = gate_of(v[j]);
      const float slope = 2.0F * kRoot * (1.0F + 3.0F * kCubic * v[j] * v[j]);
      d[j] *= s + v[j] * s * (1.0F - s) * slope;
    }
    device::store_values<kCount>(dx + i * kCount, d);
  }
};

}  // namespace

void gelu(Stream& stream, const Tensor& out, const ConstTensor& x) {
  dispatch(x.dtype(), "gelu", [&]<class T>(device::Tag<T>) {
    T* to = out.data<T>();
    const T* from = x.data<T>();
    dispatch_width<device::kPackSize<T>>({to, from}, x.elements(), [&](auto width) {
      constexpr int kCount = decltype(width)::value;
      for_each(stream, x.elements() / kCount, Gelu<kCount, T>{to, from});
    });
  });
}

void gelu_backward(Stream& stream, const Tensor& dx, const ConstTensor& dout,
                   const ConstTensor& x) {
  dispatch(x.dtype(), "gelu_backward", [&]<class T>(device::Tag<T>) {
    T* to = dx.data<T>();
    const T* d = dout.data<T>();
    const T* from = x.data<T>();
    dispatch_width<device::kPackSize<T>>({to, d, from}, x.elements(), [&](auto width) {
      constexpr int kCount = decltype(width)::value;
      for_each(stream, x.elements() / kCount, GeluBackward<kCount, T>{to, d, from});
    });
  });
}

}  // namespace ssmax::kernels::cuda
