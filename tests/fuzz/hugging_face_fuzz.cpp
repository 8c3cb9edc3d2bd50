#include <cstring>
#include <string>
#include <string_view>

#include "base/errors.h"
#include "checkpoint/hugging_face/config.h"
#include "checkpoint/hugging_face/folder.h"
#include "checkpoint/hugging_face/names.h"
#include "fuzz/driver.h"

namespace ssmax::fuzz {
namespace {

namespace hf = checkpoint::hugging_face;

template <class Work>
void refuse_or_work(const Work& work) {
  try {
    work();
  } catch (const base::Error& error) {
    if (error.kind() != base::ErrorKind::checkpoint) finding("an error of another kind");
    if (std::strchr(error.what(), '\n') != nullptr) finding("a message of several lines");
  }
}

/// Whatever was accepted has sizes that products of two do not overflow.
void check_config(std::string_view text) {
  refuse_or_work([&] {
    const hf::ForeignConfig config = hf::parse_config_json(text, "fuzz");
    for (const char* key : {"vocab_size", "num_hidden_layers", "num_attention_heads", "hidden_size",
                            "intermediate_size", "max_position_embeddings"}) {
      const std::int64_t extent = config.model.find(key)->integer;
      if (extent < 1 || extent > (std::int64_t{1} << 30)) finding("an extent out of range");
    }
    const std::int64_t heads = config.model.find("num_attention_heads")->integer;
    if (config.model.find("hidden_size")->integer % heads != 0) finding("a head of no size");
  });
}

void check_index(std::string_view text) {
  refuse_or_work([&] {
    for (const auto& [tensor, file] : hf::parse_index(text, "fuzz")) {
      if (file.find('/') != std::string::npos) finding("a file outside of the folder");
    }
  });
}

}  // namespace

std::vector<std::string> seeds() {
  return {R"({"model_type":"llama","vocab_size":9,"hidden_size":8,"num_hidden_layers":2,)"
          R"("num_attention_heads":4,"num_key_value_heads":2,"intermediate_size":6,)"
          R"("max_position_embeddings":32,"rope_scaling":null,"rope_theta":1e4,"head_dim":2})",
          R"({"model_type":"ministral3","vocab_size":9,"hidden_size":8,"num_hidden_layers":2,)"
          R"("num_attention_heads":4,"intermediate_size":6,"max_position_embeddings":32,)"
          R"("rope_parameters":{"rope_type":"default","rope_theta":1e4,)"
          R"("llama_4_scaling_beta":0.1,"original_max_position_embeddings":8}})",
          R"({"model_type":"gpt2","vocab_size":9,"n_embd":8,"n_layer":2,"n_head":4,)"
          R"("n_positions":32,"n_inner":null,"activation_function":"gelu_new"})",
          R"({"model_type":"ssmax","vocab_size":9,"hidden_size":8,"num_hidden_layers":2,)"
          R"("num_attention_heads":4,"num_key_value_heads":2,"intermediate_size":6,)"
          R"("max_position_embeddings":32,"position":{"kind":"rope","theta":1},)"
          R"("normalizer":{"kind":"sink","learned":true}})",
          R"({"metadata":{"total_size":9},"weight_map":{"a":"model-00001-of-00002.safetensors",)"
          R"("b":"model-00002-of-00002.safetensors"}})"};
}

}  // namespace ssmax::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  ssmax::fuzz::check_config(bytes);
  ssmax::fuzz::check_index(bytes);
  return 0;
}
