#include <cstdio>
#include <cstring>
#include <exception>

#include "base/json_value.h"
#include "step_traffic.h"

// Prints what the kernels of a training step ask for, as JSON for scripts/traffic_report.py.

namespace {

using ssmax::base::JsonValue;
using ssmax::simt::GlobalTraffic;
using ssmax::simt::KernelTraffic;
using ssmax::simt::OpTraffic;
using ssmax::simt::SharedTraffic;

JsonValue number(std::uint64_t value) { return JsonValue::of(static_cast<std::int64_t>(value)); }

JsonValue of(const GlobalTraffic& traffic) {
  JsonValue line = JsonValue::object();
  line.add("accesses", number(traffic.accesses));
  line.add("bytes", number(traffic.bytes));
  line.add("sectors", number(traffic.sectors));
  line.add("distinct", number(traffic.distinct));
  return line;
}

JsonValue of(const SharedTraffic& traffic) {
  JsonValue line = JsonValue::object();
  line.add("wavefronts", number(traffic.wavefronts));
  line.add("ideal", number(traffic.ideal));
  return line;
}

extern "C" const char __ehdr_start;  // where the program is in memory, by the linker

JsonValue of(const KernelTraffic& kernel) {
  JsonValue line = JsonValue::object();
  line.add("address", number(static_cast<std::uint64_t>(static_cast<const char*>(kernel.kernel) -
                                                        &__ehdr_start)));
  line.add("launches", number(kernel.launches));
  line.add("loads", of(kernel.loads));
  line.add("stores", of(kernel.stores));
  line.add("plain", of(kernel.plain));
  line.add("matrices", of(kernel.matrices));
  line.add("copies", of(kernel.copies));
  line.add("exponentials", number(kernel.exponentials));
  JsonValue operations = JsonValue::object();
  for (const auto& [name, count] : kernel.operations) operations.add(name, number(count));
  line.add("operations", operations);
  return line;
}

void print(const std::vector<OpTraffic>& ops) {
  for (const OpTraffic& op : ops) {
    JsonValue line = JsonValue::object();
    line.add("op", JsonValue::of(op.name));
    line.add("shape", JsonValue::of(op.shape));
    line.add("bytes", JsonValue::of(op.bytes));
    JsonValue kernels = JsonValue::array();
    for (const KernelTraffic& kernel : op.kernels) kernels.items.push_back(of(kernel));
    line.add("kernels", kernels);
    std::printf("%s\n", ssmax::base::to_text(line).c_str());
  }
}

}  // namespace

int main() {
  try {
    print(ssmax::simt::count_row_ops());
    for (const char* normalizer : {"ssmax", "self_adjust:variant=normalized"}) {
      for (const std::int64_t head_size : {64, 128}) {
        print(ssmax::simt::count_attention(normalizer, head_size));
      }
    }
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "simt_traffic: %s\n", error.what());
    return 1;
  }
}
