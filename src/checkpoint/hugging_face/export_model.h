#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/json_value.h"
#include "checkpoint/hugging_face/folder.h"
#include "checkpoint/hugging_face/names.h"
#include "checkpoint/load.h"
#include "corpus/tokenizer.h"

namespace ssmax::checkpoint::hugging_face {

/// T of SSMax as Ministral3: 2^20 leaves an error of 1e-6 and suits bf16 and fp32; 2^10 keeps
/// W_q / T within fp16 and quantized weights.
inline constexpr double kDefaultTemperature = 1048576.0;

struct ExportOptions {
  FileDType dtype = FileDType::f32;  ///< f32 or bf16; parameters of normalizers stay f32
  double temperature = kDefaultTemperature;
  std::int64_t file_bytes = 5'000'000'000;
  bool with_code = false;  ///< our own form even where a class of transformers would do
  /// Writes tokenizer files, and cuts padding off the vocabulary.
  std::optional<corpus::Tokenizer> tokenizer;
};

struct ExportReport {
  Form form = Form::own;
  std::int64_t bytes = 0;
  std::vector<std::string> files;
  std::vector<std::string> notes;  ///< what a user must know, one line each
};

/// Writes a folder that transformers loads: config.json, generation_config.json, the weights, the
/// tokenizer's files, and modeling_ssmax.py where no class of transformers computes the same.
///
/// SSMax becomes the attention temperature of Ministral3, c = 1 + T ln(1 + floor(position / 1)),
/// with W_q of head h multiplied by s_h / T: s_h ln n + s_h / T, so s_h / T too much.
///
/// `model` is the section "model" of the checkpoint's resolved config. All is written to
/// a base::PartialFolder. Error(usage) when OUT is there and not empty.
ExportReport export_model(const LoadedCheckpoint& loaded, const base::JsonValue& model,
                          const std::filesystem::path& out, const ExportOptions& options,
                          const WeightProgress& progress = {});

}  // namespace ssmax::checkpoint::hugging_face
