#include "checkpoint/hugging_face/import_model.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/errors.h"
#include "base/read_file.h"
#include "base/text.h"

namespace ssmax::checkpoint::hugging_face {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kLargestConfig = std::int64_t{1} << 20;
constexpr std::size_t kShownNames = 5;
constexpr char kOutput[] = "lm_head.weight";
constexpr std::string_view kGpt2Prefix = "transformer.";

[[noreturn]] void fail(const fs::path& where, const std::string& reason) {
  throw base::Error(base::ErrorKind::checkpoint, where.string() + ": " + reason);
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
  return device::Shape(shape).text();
}

/// "3 missing: a, b, c"
void describe_names(std::string& message, const std::string& what,
                    const std::vector<std::string>& names) {
  if (names.empty()) return;
  message += (message.empty() ? "" : "; ") + std::to_string(names.size()) + " " + what + ": ";
  for (std::size_t i = 0; i < std::min(names.size(), kShownNames); ++i) {
    message += (i > 0 ? ", " : "") + names[i];
  }
  if (names.size() > kShownNames) message += ", ...";
}

/// The rows of `in` (columns, rows), stacked as ours are.
void transpose_back(std::span<float> out, std::span<const float> in, std::int64_t columns) {
  const auto width = static_cast<std::size_t>(columns);
  const std::size_t rows = in.size() / width;
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < width; ++c) out[r * width + c] = in[c * rows + r];
  }
}

ForeignConfig read_config(const fs::path& folder) {
  const fs::path path = folder / kConfigFile;
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored)) {
    fail(folder, "expected a folder with config.json and safetensors, found " +
                     std::string(fs::exists(folder, ignored) ? "a file" : "nothing"));
  }
  return parse_config_json(base::read_text_file(path, base::ErrorKind::checkpoint, kLargestConfig),
                           path.string());
}

}  // namespace

ForeignModel::ForeignModel(const fs::path& folder)
    : config_(read_config(folder)), weights_(folder) {
  // A config of a billion layers must not cost the memory of their names.
  const std::int64_t layers = config_.model.find("num_hidden_layers")->integer;
  if (layers > std::ssize(weights_.tensors())) {
    fail(folder / kConfigFile, "num_hidden_layers: expected the layers of the weights, which are " +
                                   std::to_string(weights_.tensors().size()) +
                                   " tensors in all, found " + std::to_string(layers));
  }
}

std::vector<ForeignTensor> ForeignModel::expected(
    const std::vector<params::ParameterSpec>& specs) const {
  std::vector<OwnTensor> own;
  for (const params::ParameterSpec& spec : specs) {
    const auto extents = spec.shape.extents();
    own.push_back({spec.name, {extents.begin(), extents.end()}});
  }
  return foreign_tensors(config_.form, ModelSection(config_.model), own);
}

const TensorInfo* ForeignModel::find(const std::string& name) const {
  if (const TensorInfo* info = weights_.find(name)) return info;
  // The first files of GPT-2 have the names of the model without its head.
  return config_.form == Form::gpt2 && name.starts_with(kGpt2Prefix)
             ? weights_.find(std::string_view(name).substr(kGpt2Prefix.size()))
             : nullptr;
}

bool ForeignModel::is_ignored(const std::string& name) const {
  // Masks and frequencies that old versions saved, and an output layer that is the embedding.
  const bool buffer = name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias") ||
                      name.ends_with("rotary_emb.inv_freq");
  return buffer || (name == kOutput && config_.model.find("tie_word_embeddings")->boolean);
}

void ForeignModel::check_tied_output() const {
  const TensorInfo* output = weights_.find(kOutput);
  if (output == nullptr || !config_.model.find("tie_word_embeddings")->boolean) return;
  const TensorInfo* embedding =
      find(config_.form == Form::gpt2 ? "transformer.wte.weight" : "model.embed_tokens.weight");
  if (embedding == nullptr) return;
  const device::Shape shape(embedding->shape);
  std::vector<float> a(static_cast<std::size_t>(embedding->elements()));
  std::vector<float> b(a.size());
  weights_.read_converted(embedding->name, device::view(a.data(), shape));
  weights_.read_converted(kOutput, device::view(b.data(), shape));
  if (a != b) {
    fail(weights_.path(),
         "config.json says that lm_head.weight is the token embedding, but it differs from it; set "
         "tie_word_embeddings to false");
  }
}

void ForeignModel::check(const std::vector<params::ParameterSpec>& specs) const {
  std::vector<std::string> missing;
  std::vector<std::string> shaped;
  std::vector<std::string> unexpected;
  std::set<std::string_view> used;
  for (const ForeignTensor& tensor : expected(specs)) {
    const TensorInfo* info = find(tensor.name);
    if (info == nullptr) {
      missing.push_back(tensor.name);
      continue;
    }
    used.insert(info->name);
    if (info->shape != tensor.shape) {
      shaped.push_back(tensor.name + " (expected " + shape_text(tensor.shape) + ", found " +
                       info->shape_text() + ")");
    }
  }
  for (const TensorInfo* info : weights_.tensors()) {
    if (!used.contains(info->name) && !is_ignored(info->name)) unexpected.push_back(info->name);
  }
  std::string message;
  describe_names(message, "missing", missing);
  describe_names(message, "of another shape", shaped);
  describe_names(message, "unexpected", unexpected);
  if (!message.empty()) {
    fail(weights_.path(), "the tensors are of another model than config.json says; " + message);
  }
}

void ForeignModel::read(const params::ParameterSet& parameters,
                        const WeightProgress& progress) const {
  check(parameters.specs());
  check_tied_output();
  const std::vector<ForeignTensor> tensors = expected(parameters.specs());
  std::int64_t total = 0;
  for (const ForeignTensor& tensor : tensors) total += tensor.elements();
  std::int64_t done = 0;
  for (const ForeignTensor& tensor : tensors) {
    const TensorInfo& info = *find(tensor.name);
    std::vector<float> values(static_cast<std::size_t>(tensor.elements()));
    weights_.read_converted(info.name, device::view(values.data(), device::Shape(tensor.shape)));
    const auto bad = std::find_if(values.begin(), values.end(),
                                  [](float value) { return !std::isfinite(value); });
    if (bad != values.end()) {
      fail(weights_.path(), "tensor " + base::in_quotes(info.name) + ": the number at index " +
                                std::to_string(bad - values.begin()) + " is not finite");
    }
    if (tensor.transposed) {
      std::vector<float> stacked(values.size());
      transpose_back(stacked, values, tensor.shape[0]);
      values.swap(stacked);
    }
    auto at = values.begin();
    for (const OwnTensor& part : tensor.parts) {
      const device::Tensor master = parameters.master(parameters.find(part.name));
      std::copy_n(at, master.elements(), master.data<float>());
      at += master.elements();
    }
    done += tensor.elements();
    if (progress) progress(done, total);
  }
}

}  // namespace ssmax::checkpoint::hugging_face
