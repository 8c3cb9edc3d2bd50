#include "checkpoint/hugging_face/export_model.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "base/durable_file.h"
#include "base/errors.h"
#include "base/partial_folder.h"
#include "checkpoint/hugging_face/config.h"
#include "checkpoint/hugging_face/modeling_text.h"
#include "checkpoint/match.h"

namespace ssmax::checkpoint::hugging_face {
namespace {

namespace fs = std::filesystem;
using base::JsonValue;

std::vector<OwnTensor> model_tensors_of(const LoadedCheckpoint& loaded) {
  std::vector<OwnTensor> own;
  for (const TensorInfo& info : loaded.tensors()) {
    const bool moment = info.name.starts_with(kFirstMoment) || info.name.starts_with(kSecondMoment);
    if (!moment) own.push_back({info.name, info.shape});
  }
  return own;
}

std::int64_t elements_of(const std::vector<std::int64_t>& shape) {
  std::int64_t count = 1;
  for (const std::int64_t extent : shape) count *= extent;
  return count;
}

/// The first elements of a tensor; zeros for an absent one.
void read_part(const LoadedCheckpoint& loaded, const OwnTensor& part, std::span<float> out) {
  if (part.name.empty()) {
    std::fill(out.begin(), out.end(), 0.0F);
    return;
  }
  const TensorInfo* info = loaded.find(part.name);
  if (info == nullptr) {
    throw base::Error(base::ErrorKind::checkpoint,
                      loaded.folder().string() + ": has no tensor " + part.name);
  }
  std::vector<float> whole(static_cast<std::size_t>(info->elements()));
  loaded.read_converted(part.name, device::view(whole.data(), device::Shape(info->shape)));
  std::copy_n(whole.begin(), out.size(), out.begin());
}

/// (rows, columns) to (columns, rows).
void transpose(std::span<float> out, std::span<const float> in, std::int64_t columns) {
  const auto width = static_cast<std::size_t>(columns);
  const std::size_t rows = in.size() / width;
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < width; ++c) out[c * rows + r] = in[r * width + c];
  }
}

void fill(const LoadedCheckpoint& loaded, const ForeignTensor& tensor, std::span<float> out) {
  std::vector<float> stacked(tensor.transposed ? out.size() : 0);
  const std::span<float> target = tensor.transposed ? std::span<float>(stacked) : out;
  std::size_t at = 0;
  for (const OwnTensor& part : tensor.parts) {
    const auto count = static_cast<std::size_t>(elements_of(part.shape));
    read_part(loaded, part, target.subspan(at, count));
    at += count;
  }
  if (tensor.transposed) transpose(out, stacked, tensor.shape[0]);
}

/// What a Ministral3 model needs beside the names.
struct Temperature {
  double beta = 0.0;
  std::int64_t length = 1;
  bool scales_queries = false;  ///< of SSMax: rows of head h of W_q times s_h / beta
  double constant_scale = 1.0;  ///< s where it is not learned
};

Temperature temperature_of(const ModelSection& model, const ExportOptions& options) {
  const auto number = [&](const char* key) {
    const JsonValue* value = model.option(key);
    if (value == nullptr) return 0.0;
    return value->type == JsonValue::Type::integer ? static_cast<double>(value->integer)
                                                   : value->number;
  };
  Temperature result;
  if (model.normalizer == "temperature") {
    result.beta = number("beta");
    result.length = model.option("original_length")->integer;
  } else {
    result.beta = options.temperature;
    result.scales_queries = true;
    result.constant_scale = number("initial_scale") == 0.0 ? 1.0 : number("initial_scale");
  }
  return result;
}

/// s of every head of the layer that the tensor is in.
std::vector<float> head_scales(const LoadedCheckpoint& loaded, const ModelSection& model,
                               const Temperature& temperature, const std::string& query_weight) {
  std::vector<float> scales(static_cast<std::size_t>(model.heads),
                            static_cast<float>(temperature.constant_scale));
  const std::string layer = query_weight.substr(0, query_weight.find("q_proj"));
  const std::string name = layer + "normalizer.scale";
  if (loaded.find(name) != nullptr) read_part(loaded, {name, {model.heads}}, scales);
  return scales;
}

void scale_queries(std::span<float> weight, std::span<const float> scales, double beta) {
  const std::size_t rows = weight.size() / scales.size();  // elements of one head
  for (std::size_t i = 0; i < weight.size(); ++i) {
    weight[i] = static_cast<float>(weight[i] * (static_cast<double>(scales[i / rows]) / beta));
  }
}

bool is_query(const std::string& name) { return name.ends_with("self_attn.q_proj.weight"); }

std::vector<LazyTensor> lazy_tensors(const LoadedCheckpoint& loaded, const ModelSection& model,
                                     Form form, const Temperature& temperature, FileDType dtype) {
  std::vector<LazyTensor> all;
  for (ForeignTensor& tensor : foreign_tensors(form, model, model_tensors_of(loaded))) {
    const bool of_normalizer = tensor.name.find("normalizer.") != std::string::npos;
    LazyTensor lazy{tensor.name, tensor.shape, of_normalizer ? FileDType::f32 : dtype, {}};
    lazy.fill = [&loaded, &model, &temperature, form,
                 tensor = std::move(tensor)](std::span<float> out) {
      fill(loaded, tensor, out);
      if (form == Form::ministral3 && temperature.scales_queries && is_query(tensor.name)) {
        scale_queries(out, head_scales(loaded, model, temperature, tensor.name), temperature.beta);
      }
    };
    all.push_back(std::move(lazy));
  }
  return all;
}

std::string number_text(const char* format, double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), format, value);
  return text.data();
}

/// How far SSMax as Ministral3 is from the model itself.
std::string temperature_note(const LoadedCheckpoint& loaded, const ModelSection& model,
                             const Temperature& temperature) {
  double largest = 0.0;
  for (std::int64_t i = 0; i < model.layers; ++i) {
    const std::string query = "model.layers." + std::to_string(i) + ".self_attn.q_proj.weight";
    for (const float s : head_scales(loaded, model, temperature, query)) {
      largest = std::max(largest, std::abs(static_cast<double>(s)));
    }
  }
  const double error = largest / temperature.beta;
  // Weights are exponentials of c z: two keys whose z differ by d change their ratio by e^(d
  // error).
  constexpr double kSpread = 20.0;
  return "s_h ln n is computed as s_h ln n + s_h / T with T = " +
         number_text("%.0f", temperature.beta) + ": at most " + number_text("%.2g", error) +
         " too much, which changes the ratio of two weights whose scores differ by " +
         number_text("%.0f", kSpread) + " by " + number_text("%.1g", std::expm1(kSpread * error)) +
         "; in 16 bits transformers also rounds the product of queries and scale (to 1 / 256 in "
         "bf16), so compute in fp32 where that matters";
}

void write_json(const fs::path& file, const JsonValue& json) {
  base::write_file_atomically(file, base::to_text(json, 2) + "\n");
}

JsonValue generation_config(std::int64_t end_of_text) {
  JsonValue json = JsonValue::object();
  for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"}) {
    if (end_of_text >= 0) json.add(key, JsonValue::of(end_of_text));
  }
  json.add("_from_model_config", JsonValue::of(true));
  return json;
}

void write_tokenizer(const fs::path& folder, const corpus::Tokenizer& tokenizer,
                     std::int64_t positions) {
  tokenizer.save(folder);
  const JsonValue end = JsonValue::of(tokenizer.token(tokenizer.end_of_text()));
  JsonValue special = JsonValue::object();
  JsonValue json = JsonValue::object();
  json.add("tokenizer_class", JsonValue::of("PreTrainedTokenizerFast"));
  for (const char* key : {"bos_token", "eos_token", "pad_token"}) {
    json.add(key, end);
    special.add(key, end);
  }
  json.add("add_prefix_space", JsonValue::of(false));
  json.add("clean_up_tokenization_spaces", JsonValue::of(false));
  json.add("model_max_length", JsonValue::of(positions));
  write_json(folder / "tokenizer_config.json", json);
  write_json(folder / "special_tokens_map.json", special);
}

/// The padding that makes a vocabulary a multiple of something has no token.
void cut_vocabulary(ModelSection& model, const ExportOptions& options, ExportReport& report) {
  if (!options.tokenizer || options.tokenizer->vocab_size() == model.vocab_size) return;
  report.notes.push_back("vocabulary cut from " + std::to_string(model.vocab_size) + " to the " +
                         std::to_string(options.tokenizer->vocab_size()) +
                         " tokens of the tokenizer");
  model.vocab_size = options.tokenizer->vocab_size();
}

}  // namespace

ExportReport export_model(const LoadedCheckpoint& loaded, const JsonValue& section,
                          const fs::path& out, const ExportOptions& options,
                          const WeightProgress& progress) {
  base::PartialFolder folder(out);
  const fs::path& partial = folder.path();

  ExportReport report;
  ModelSection model(section);
  cut_vocabulary(model, options, report);
  report.form = options.with_code ? Form::own : choose_form(model);
  Temperature temperature;
  if (report.form == Form::ministral3) temperature = temperature_of(model, options);
  const std::int64_t end_of_text =
      options.tokenizer ? options.tokenizer->end_of_text() : std::int64_t{-1};

  const auto tensors = lazy_tensors(loaded, model, report.form, temperature, options.dtype);
  for (const WrittenFile& file : write_weights(partial, tensors, options.file_bytes, progress)) {
    report.bytes += file.bytes;
    report.files.push_back(file.name);
  }
  write_json(partial / "config.json",
             to_config_json(report.form, model,
                            {options.dtype, end_of_text, temperature.beta, temperature.length}));
  write_json(partial / "generation_config.json", generation_config(end_of_text));
  if (options.tokenizer) {
    write_tokenizer(partial, *options.tokenizer, model.positions);
  } else {
    report.notes.push_back("no tokenizer is known, so none was written; name one with --tokenizer");
  }
  if (report.form == Form::own) {
    base::write_file_atomically(partial / "modeling_ssmax.py", kModelingText);
    report.notes.push_back(
        "load it with trust_remote_code=True, which runs modeling_ssmax.py of the folder");
  }
  if (temperature.scales_queries) {
    report.notes.push_back(temperature_note(loaded, model, temperature));
  }
  folder.commit();
  return report;
}

}  // namespace ssmax::checkpoint::hugging_face
