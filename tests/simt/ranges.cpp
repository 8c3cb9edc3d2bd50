#include "simt/ranges.h"

#include <utility>

#include "nvtx3/nvToolsExt.h"

namespace ssmax::simt {

namespace {

// Of the thread that asks.
thread_local int depth = 0;
thread_local bool recording = false;
thread_local std::vector<std::string> ranges;

}  // namespace

std::vector<std::string> take_ranges() {
  recording = true;
  return std::exchange(ranges, {});
}

int open_ranges() { return depth; }

}  // namespace ssmax::simt

int nvtxRangePushEx(const nvtxEventAttributes_t* attributes) {
  using namespace ssmax::simt;
  if (recording) {
    std::string text = std::string(static_cast<std::size_t>(2 * depth), ' ');
    text += attributes->message.ascii;
    if (attributes->payloadType == NVTX_PAYLOAD_TYPE_INT64) {
      text.append(" ").append(std::to_string(attributes->payload.llValue));
    }
    ranges.push_back(std::move(text));
  }
  return depth++;
}

int nvtxRangePop() { return --ssmax::simt::depth; }
