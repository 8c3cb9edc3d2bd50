#pragma once

#include <cstdint>

// The part of NVTX that the backend uses. The emulated profiler writes down what it is told, see
// simt/ranges.h.

#define NVTX_VERSION 3
#define NVTX_EVENT_ATTRIB_STRUCT_SIZE (static_cast<std::uint16_t>(sizeof(nvtxEventAttributes_t)))

enum nvtxMessageType_t { NVTX_MESSAGE_UNKNOWN = 0, NVTX_MESSAGE_TYPE_ASCII = 1 };
enum nvtxPayloadType_t { NVTX_PAYLOAD_UNKNOWN = 0, NVTX_PAYLOAD_TYPE_INT64 = 2 };

struct nvtxEventAttributes_t {
  std::uint16_t version;
  std::uint16_t size;
  std::int32_t payloadType;
  union {
    std::int64_t llValue;
  } payload;
  std::int32_t messageType;
  union {
    const char* ascii;
  } message;
};

int nvtxRangePushEx(const nvtxEventAttributes_t* attributes);
int nvtxRangePop();
