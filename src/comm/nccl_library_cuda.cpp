#include <dlfcn.h>

#include "comm/nccl_library.h"

namespace ssmax::comm::cuda {

namespace {

constexpr char kFile[] = "libnccl.so.2";
/// The first with communicators that do not block.
constexpr int kOldestVersion = NCCL_VERSION(2, 14, 0);

std::string version_text(int version) {
  return std::to_string(version / 10000) + "." + std::to_string(version % 10000 / 100) + "." +
         std::to_string(version % 100);
}

NcclLibrary load() {
  NcclLibrary library;
  std::string& missing = library.search.missing;
  void* file = dlopen(kFile, RTLD_NOW | RTLD_LOCAL);
  if (file == nullptr) {
    missing = std::string(dlerror()) + " (install libnccl2, or name its folder in LD_LIBRARY_PATH)";
    return library;
  }
  const auto find = [&](auto& call, const char* name) {
    call = reinterpret_cast<std::remove_reference_t<decltype(call)>>(dlsym(file, name));
    if (call == nullptr) missing = std::string(kFile) + " has no " + name + " (it is too old)";
  };
  NcclCalls& calls = library.calls;
  decltype(&ncclGetVersion) get_version = nullptr;
  find(get_version, "ncclGetVersion");
  find(calls.get_unique_id, "ncclGetUniqueId");
  find(calls.init_rank, "ncclCommInitRankConfig");
  find(calls.get_async_error, "ncclCommGetAsyncError");
  find(calls.finalize, "ncclCommFinalize");
  find(calls.destroy, "ncclCommDestroy");
  find(calls.abort, "ncclCommAbort");
  find(calls.reduce_scatter, "ncclReduceScatter");
  find(calls.all_gather, "ncclAllGather");
  find(calls.get_error_string, "ncclGetErrorString");
  find(calls.get_last_error, "ncclGetLastError");
  if (!missing.empty()) return library;
  int version = 0;
  if (get_version(&version) != ncclSuccess || version < kOldestVersion) {
    missing = std::string(kFile) + " is version " + version_text(version) + " (2.14 is the oldest)";
    return library;
  }
  library.search.version = version_text(version);
  return library;
}

}  // namespace

const NcclLibrary& nccl_library() {
  static const NcclLibrary library = load();
  return library;
}

}  // namespace ssmax::comm::cuda
