#include <algorithm>
#include <cmath>
#include <ostream>
#include <vector>

#include "app/inspect/parts.h"
#include "app/table.h"
#include "base/format.h"
#include "base/text.h"
#include "checkpoint/safetensors.h"

namespace ssmax::app {

namespace fs = std::filesystem;

namespace {

constexpr std::int64_t kChunkElements = std::int64_t{1} << 16;

struct Statistics {
  double least = INFINITY;
  double greatest = -INFINITY;
  double sum = 0.0;
  double squares = 0.0;
  std::int64_t finite = 0;
  std::int64_t not_finite = 0;

  void add(double value) {
    if (!std::isfinite(value)) {
      ++not_finite;
      return;
    }
    least = std::min(least, value);
    greatest = std::max(greatest, value);
    sum += value;
    squares += value * value;
    ++finite;
  }
};

Statistics statistics_of(const checkpoint::SafetensorsFile& file,
                         const checkpoint::TensorInfo& tensor, base::Progress& progress) {
  Statistics result;
  const std::int64_t size = size_of(tensor.dtype);
  std::vector<std::byte> bytes(
      static_cast<std::size_t>(std::min(kChunkElements * size, tensor.bytes())));
  for (std::int64_t offset = 0; offset < tensor.bytes(); offset += kChunkElements * size) {
    const auto part = std::span(bytes).first(
        static_cast<std::size_t>(std::min(kChunkElements * size, tensor.bytes() - offset)));
    file.read_bytes(tensor, offset, part);
    for (const double value : checkpoint::values_of(tensor.dtype, part)) result.add(value);
    progress.advance(std::ssize(part));
  }
  return result;
}

}  // namespace

void inspect_tensors(std::ostream& out, const fs::path& path) {
  const checkpoint::SafetensorsFile file(path);
  Table table({"tensor", "dtype", "shape", "min", "max", "mean", "rms", "not finite"},
              {Align::left, Align::left, Align::left});
  std::int64_t elements = 0;
  base::Progress progress = reading(path);
  for (const checkpoint::TensorInfo& tensor : file.tensors()) {
    const Statistics all = statistics_of(file, tensor, progress);
    const auto count = static_cast<double>(all.finite);
    const auto shown = [&](double value) { return all.finite > 0 ? number_text(value) : "-"; };
    table.add({base::printable(tensor.name), std::string(name_of(tensor.dtype)),
               tensor.shape_text(), shown(all.least), shown(all.greatest), shown(all.sum / count),
               shown(std::sqrt(all.squares / count)), number_text(all.not_finite)});
    elements += tensor.elements();
  }
  progress.finish();
  out << path.string() << ": safetensors, " << file.tensors().size() << " tensors, "
      << base::format_count(static_cast<double>(elements)) << " elements, "
      << base::format_bytes(file.bytes()) << "\n\n";
  table.print(out);
  if (file.metadata().empty()) return;
  out << '\n';
  Table metadata({"metadata", "value"}, {Align::left, Align::left});
  for (const auto& [key, value] : file.metadata()) {
    metadata.add({base::printable(key), base::printable(value)});
  }
  metadata.print(out);
}

}  // namespace ssmax::app
