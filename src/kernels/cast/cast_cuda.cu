#include "kernels/cast/cast_launch.h"
#include "kernels/dispatch_cuda.cuh"

namespace ssmax::kernels::cuda {

namespace {

template <int kCount, class To, class From>
struct Cast {
  To* to;
  const From* from;

  __device__ void operator()(std::int64_t i) const {
    device::store_values<kCount>(to + i * kCount, device::load_values<kCount>(from + i * kCount));
  }
};

/// To f64 for statistics on the host.
template <class From>
struct Widen {
  double* to;
  const From* from;

  __device__ void operator()(std::int64_t i) const {
    to[i] = static_cast<double>(device::load_one(from + i));
  }
};

template <int kCount, class T>
struct Add {
  T* to;
  const T* a;
  const T* b;

  __device__ void operator()(std::int64_t i) const {
    auto sum = device::load_values<kCount>(a + i * kCount);
    const auto other = device::load_values<kCount>(b + i * kCount);
#pragma unroll
    for (int j = 0; j < kCount; ++j) sum[j] += other[j];
    device::store_values<kCount>(to + i * kCount, sum);
  }
};

}  // namespace

void cast(Stream& stream, const Tensor& out, const ConstTensor& x) {
  const std::int64_t count = x.elements();
  if (out.dtype() == DType::f64) {
    dispatch(x.dtype(), "cast", [&]<class From>(device::Tag<From>) {
      for_each(stream, count, Widen<From>{out.data<double>(), x.data<From>()});
    });
    return;
  }
  dispatch(out.dtype(), "cast", [&]<class To>(device::Tag<To>) {
    dispatch(x.dtype(), "cast", [&]<class From>(device::Tag<From>) {
      To* to = out.data<To>();
      const From* from = x.data<From>();
      // Four: 16 bytes on the wider side.
      dispatch_width<4>({to, from}, count, [&](auto width) {
        constexpr int kCount = decltype(width)::value;
        for_each(stream, count / kCount, Cast<kCount, To, From>{to, from});
      });
    });
  });
}

void add(Stream& stream, const Tensor& out, const ConstTensor& a, const ConstTensor& b) {
  const std::int64_t count = out.elements();
  dispatch(out.dtype(), "add", [&]<class T>(device::Tag<T>) {
    T* to = out.data<T>();
    const T* left = a.data<T>();
    const T* right = b.data<T>();
    dispatch_width<device::kPackSize<T>>({to, left, right}, count, [&](auto width) {
      constexpr int kCount = decltype(width)::value;
      for_each(stream, count / kCount, Add<kCount, T>{to, left, right});
    });
  });
}

}  // namespace ssmax::kernels::cuda
