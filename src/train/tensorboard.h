#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "base/durable_file.h"
#include "train/metrics.h"

namespace ssmax::train {

/// A TensorBoard event file, `events.out.tfevents.SECONDS.HOST.PID`, in the run's folder. Scalars:
/// loss/train, loss/validation, learning_rate, gradient_norm, tokens_per_second and
/// model_flops_utilization.
///
/// Format: TFRecords (length, masked CRC32C of it, data, masked CRC32C of it) of the protobuf
/// messages Event, Summary and SessionLog of tensorflow/core/util/event.proto and
/// tensorflow/core/framework/summary.proto.
class TensorboardLog {
 public:
  struct Scalar {
    std::string_view tag;
    double value = 0.0;  ///< stored as f32, as TensorBoard wants it
  };

  /// Opens a new file that sorts after those already in `folder`. In a run that goes on after
  /// `resumed_step` (0 = a new run) TensorBoard forgets what older files say of later steps.
  /// Errors here and below: Error(disk).
  TensorboardLog(const std::filesystem::path& folder, std::int64_t resumed_step);

  void write(const StepMetrics& metrics);
  void write(const ValidationMetrics& metrics);
  void write(std::int64_t step, std::span<const Scalar> scalars);

  void sync() { file_.sync(); }
  const std::filesystem::path& path() const { return file_.path(); }

 private:
  void append(const std::string& event);

  base::AppendFile file_;
};

}  // namespace ssmax::train
