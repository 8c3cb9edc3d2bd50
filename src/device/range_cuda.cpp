#include <nvtx3/nvToolsExt.h>

#include "device/cuda_backend.h"

namespace ssmax::device::cuda {

void begin_range(const char* name, std::int64_t number) {
  nvtxEventAttributes_t attributes{};
  attributes.version = NVTX_VERSION;
  attributes.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE;
  attributes.messageType = NVTX_MESSAGE_TYPE_ASCII;
  attributes.message.ascii = name;
  if (number >= 0) {
    attributes.payloadType = NVTX_PAYLOAD_TYPE_INT64;
    attributes.payload.llValue = number;
  }
  nvtxRangePushEx(&attributes);
}

void end_range() { nvtxRangePop(); }

}  // namespace ssmax::device::cuda
