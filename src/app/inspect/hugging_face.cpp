#include <ostream>

#include "app/inspect/parts.h"
#include "base/errors.h"
#include "base/read_file.h"
#include "base/text.h"
#include "checkpoint/hugging_face/config.h"
#include "checkpoint/hugging_face/folder.h"
#include "checkpoint/hugging_face/import_model.h"

namespace ssmax::app {

namespace fs = std::filesystem;
namespace hf = checkpoint::hugging_face;

using base::JsonValue;

namespace {

/// What of this program, and what of Python, goes on with the folder.
std::string advice(const fs::path& folder, bool own_code) {
  const std::string config = (folder / hf::kConfigFile).string();
  std::string text = "in Python:     AutoModelForCausalLM.from_pretrained(\"" + folder.string() +
                     (own_code ? "\", trust_remote_code=True)" : "\")") + " of transformers\n";
  try {
    hf::parse_config_json(base::read_text_file(config, base::ErrorKind::checkpoint, kMaxJsonBytes),
                          config);
    return text + "in this program: ssmax import " + folder.string() + " --out runs/NAME\n";
  } catch (const base::Error& error) {
    return text + "in this program: not, ssmax import refuses it: " + error.what() + "\n";
  }
}

}  // namespace

bool is_hugging_face(const JsonValue& config) {
  return config.find("architectures") != nullptr || config.find("model_type") != nullptr;
}

void inspect_hugging_face(std::ostream& out, const fs::path& folder, const JsonValue& config) {
  const JsonValue* classes = config.find("architectures");
  const bool named = classes != nullptr && !classes->items.empty();
  out << folder.string() << ": Hugging Face model"
      << (named ? ", " + base::printable(classes->items.front().text) : "") << '\n'
      << advice(folder, config.find("auto_map") != nullptr) << '\n';
  print_values(out, config);
  // As import opens them, for an index that does not fit its files.
  const hf::WeightFolder weights(folder);
  for (const fs::path& file : weights.files()) {
    out << '\n';
    inspect_tensors(out, file);
  }
}

}  // namespace ssmax::app
