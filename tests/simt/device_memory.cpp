#include "simt/device_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "simt/engine.h"

namespace ssmax::simt {

namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kHugePage = std::size_t{2} << 20;

std::size_t round_up(std::size_t value, std::size_t unit) {
  return (value + unit - 1) / unit * unit;
}

struct Allocation {
  GuardedBlock block;
  int opened = 0;  // by how many; all of device memory counts once

  void open() {
    if (opened++ == 0) protect(PROT_READ | PROT_WRITE);
  }
  void close() {
    if (--opened == 0) protect(PROT_NONE);
  }
  void protect(int access) const {
    const auto begin = reinterpret_cast<std::uintptr_t>(block.data()) / kPage * kPage;
    const auto end = reinterpret_cast<std::uintptr_t>(block.data()) + block.bytes();
    mprotect(reinterpret_cast<void*>(begin), round_up(end - begin, kPage), access);
  }
};

/// Allocations by address. Changed under the lock; the signal handler reads without it, because a
/// process that comes there ends.
struct Table {
  std::mutex mutex;
  std::map<std::uintptr_t, Allocation> blocks;
  int open = 0;           // all of it
  std::size_t bytes = 0;  // of all blocks

  Allocation* around(const void* address) {
    auto next = blocks.upper_bound(reinterpret_cast<std::uintptr_t>(address) + kPage);
    while (next != blocks.begin()) {
      --next;
      if (next->second.block.is_around(address)) return &next->second;
      if (next->first + next->second.block.bytes() + kPage <
          reinterpret_cast<std::uintptr_t>(address)) {
        break;
      }
    }
    return nullptr;
  }
};

Table& table() {
  static Table instance;
  return instance;
}

void write_text(const std::string& text) {
  [[maybe_unused]] const auto written = write(STDERR_FILENO, text.data(), text.size());
}

void on_bad_access(int signal, siginfo_t* info, void* /*context*/) {
  const std::string thread = running_thread();
  const Allocation* around = table().around(info->si_addr);
  const GuardedBlock* block = around == nullptr ? nullptr : &around->block;
  if (block == nullptr && thread.empty()) {
    std::signal(signal, SIG_DFL);  // not ours: the access repeats and ends the process
    return;
  }
  std::string text = "emulated device: ";
  if (thread.empty()) {
    text += "the host touched device memory";
  } else {
    text += thread + ": an access out of bounds";
  }
  if (block != nullptr) {
    const auto offset = static_cast<long long>(reinterpret_cast<std::uintptr_t>(info->si_addr)) -
                        static_cast<long long>(reinterpret_cast<std::uintptr_t>(block->data()));
    text += ", at byte " + std::to_string(offset) + " of an allocation of " +
            std::to_string(block->bytes());
  }
  write_text(text + "\n");
  _exit(134);
}

/// What -fsanitize=alignment makes of an address that is no multiple of the access.
void on_trap(int signal, siginfo_t* /*info*/, void* /*context*/) {
  const std::string thread = running_thread();
  if (thread.empty()) {
    std::signal(signal, SIG_DFL);
    return;
  }
  write_text("emulated device: " + thread +
             ": an access at an address that is no multiple of its size\n");
  _exit(134);
}

void install_handler() {
  static const bool installed = [] {
    struct sigaction action {};
    action.sa_sigaction = on_bad_access;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGSEGV, &action, nullptr);
    sigaction(SIGBUS, &action, nullptr);
    action.sa_sigaction = on_trap;
    sigaction(SIGILL, &action, nullptr);
    return true;
  }();
  (void)installed;
}

}  // namespace

GuardedBlock::GuardedBlock(std::size_t bytes, std::size_t alignment) : bytes_(bytes) {
  install_handler();
  const std::size_t inner = round_up(round_up(bytes, alignment), kPage);
  mapped_ = inner + 2 * kPage;
  void* pages =
      mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (pages == MAP_FAILED) {
    mapped_ = 0;
    return;
  }
  pages_ = pages;
  char* first = static_cast<char*>(pages) + kPage;
  if (inner > 0) mprotect(first, inner, PROT_READ | PROT_WRITE);
  if (inner >= kHugePage) madvise(first, inner, MADV_HUGEPAGE);  // fewer to fill, open and close
  data_ = first + (inner - round_up(bytes, alignment));
  fill();
}

void GuardedBlock::fill() const {
  if (pages_ != nullptr) std::memset(static_cast<char*>(pages_) + kPage, 0xff, mapped_ - 2 * kPage);
}

GuardedBlock::~GuardedBlock() {
  if (pages_ != nullptr) munmap(pages_, mapped_);
}

GuardedBlock::GuardedBlock(GuardedBlock&& other) noexcept
    : pages_(std::exchange(other.pages_, nullptr)),
      mapped_(std::exchange(other.mapped_, 0)),
      data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)) {}

GuardedBlock& GuardedBlock::operator=(GuardedBlock&& other) noexcept {
  std::swap(pages_, other.pages_);
  std::swap(mapped_, other.mapped_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

bool GuardedBlock::is_around(const void* address) const {
  const auto* first = static_cast<const char*>(pages_);
  const auto* at = static_cast<const char*>(address);
  return pages_ != nullptr && at >= first && at < first + mapped_;
}

void* allocate_device_memory(std::size_t bytes) {
  GuardedBlock block(bytes);
  void* data = block.data();
  if (data == nullptr) return nullptr;
  Table& all = table();
  const std::lock_guard lock(all.mutex);
  all.bytes += bytes;
  Allocation allocation{std::move(block), all.open > 0 ? 1 : 0};
  if (allocation.opened == 0) allocation.protect(PROT_NONE);
  all.blocks.emplace(reinterpret_cast<std::uintptr_t>(data), std::move(allocation));
  return data;
}

bool free_device_memory(void* data) {
  Table& all = table();
  const std::lock_guard lock(all.mutex);
  const auto block = all.blocks.find(reinterpret_cast<std::uintptr_t>(data));
  if (block == all.blocks.end()) return false;
  all.bytes -= block->second.block.bytes();
  all.blocks.erase(block);
  return true;
}

std::size_t allocated_device_bytes() {
  Table& all = table();
  const std::lock_guard lock(all.mutex);
  return all.bytes;
}

DeviceMemory device_memory_around(const void* data) {
  Table& all = table();
  const std::lock_guard lock(all.mutex);
  const Allocation* found = all.around(data);
  if (found == nullptr) return {};
  const GuardedBlock& block = found->block;
  const auto* begin = static_cast<const char*>(block.data());
  const auto* at = static_cast<const char*>(data);
  if (at < begin || at >= begin + block.bytes()) return {};
  return {block.data(), block.bytes()};
}

bool is_device_memory(const void* data, std::size_t bytes) {
  const DeviceMemory memory = device_memory_around(data);
  return memory.data != nullptr && static_cast<const char*>(data) + bytes <=
                                       static_cast<const char*>(memory.data) + memory.bytes;
}

bool points_to_device(const void* data) {
  Table& all = table();
  const std::lock_guard lock(all.mutex);
  return all.around(data) != nullptr;
}

OpenDeviceMemory::OpenDeviceMemory() : all_(true) {
  Table& all = table();
  const std::lock_guard lock(all.mutex);
  if (all.open++ > 0) return;
  for (auto& entry : all.blocks) entry.second.open();
}

OpenDeviceMemory::OpenDeviceMemory(std::initializer_list<const void*> addresses) {
  Table& all = table();
  const std::lock_guard lock(all.mutex);
  for (const void* address : addresses) {
    Allocation* found = all.around(address);
    if (found == nullptr) continue;
    found->open();
    opened_.push_back(found->block.data());
  }
}

OpenDeviceMemory::~OpenDeviceMemory() {
  Table& all = table();
  const std::lock_guard lock(all.mutex);
  for (const void* data : opened_) {
    const auto found = all.blocks.find(reinterpret_cast<std::uintptr_t>(data));
    if (found != all.blocks.end()) found->second.close();
  }
  if (!all_ || --all.open > 0) return;
  for (auto& entry : all.blocks) entry.second.close();
}

}  // namespace ssmax::simt
