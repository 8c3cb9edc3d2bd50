#include "device/to_host.h"

#include <algorithm>

namespace ssmax::device {

std::vector<double> to_host(Stream& stream, const ConstTensor& source) {
  assert(source.dtype() != DType::i32);
  return dispatch(source.dtype(), [&]<class T>(Tag<T>) {
    std::vector<T> values(static_cast<std::size_t>(source.elements()));
    copy(stream, view(values.data(), source.shape()), source);
    stream.synchronize();
    std::vector<double> wide(values.size());
    std::transform(values.begin(), values.end(), wide.begin(),
                   [](const T& value) { return static_cast<double>(value); });
    return wide;
  });
}

}  // namespace ssmax::device
