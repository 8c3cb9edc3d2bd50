#include "device/stream.h"

#include <cstring>

#include "device/parallel.h"

namespace ssmax::device {

void Stream::synchronize() {}

namespace {

constexpr std::int64_t kBytesPerTask = std::int64_t{1} << 20;

}  // namespace

void copy(Stream& /*stream*/, const Tensor& destination, const ConstTensor& source) {
  assert(destination.dtype() == source.dtype() && destination.elements() == source.elements());
  char* to = static_cast<char*>(destination.raw());
  const char* from = static_cast<const char*>(source.raw());
  parallel_for(source.bytes(), kBytesPerTask, [&](std::int64_t begin, std::int64_t end) {
    std::memcpy(to + begin, from + begin, static_cast<std::size_t>(end - begin));
  });
}

void fill_zero(Stream& /*stream*/, const Tensor& destination) {
  char* to = static_cast<char*>(destination.raw());
  parallel_for(destination.bytes(), kBytesPerTask, [&](std::int64_t begin, std::int64_t end) {
    std::memset(to + begin, 0, static_cast<std::size_t>(end - begin));
  });
}

}  // namespace ssmax::device
