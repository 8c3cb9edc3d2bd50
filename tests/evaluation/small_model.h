#pragma once

#include <string>
#include <vector>

#include "corpus/loader.h"
#include "model/model.h"
#include "support/shards.h"
#include "support/temporary_folder.h"

namespace ssmax::evaluation {

/// Two layers of two heads in f64, with SSMax, and a shard that it can read.
struct SmallModel {
  explicit SmallModel(std::int64_t vocab_size)
      : model(config(vocab_size), device::DType::f64, params::Gradients::none, arena) {
    model.parameters().initialize(stream, 1);
    std::vector<std::int32_t> ids;
    for (std::int32_t i = 0; i < 200; ++i) ids.push_back((i * i + 7 * i) % 31);
    support::write_shard(folder / "val.bin", ids);
  }

  static model::ModelConfig config(std::int64_t vocab_size) {
    return base::parse_config<model::ModelConfig>(
        R"({"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16,
            "intermediate_size": 20, "normalizer": {"kind": "ssmax"}, "vocab_size": )" +
            std::to_string(vocab_size) + "}",
        "test");
  }

  corpus::Loader loader(std::int64_t length, std::int64_t batch) const {
    corpus::DataConfig data;
    data.sequence_length = length;
    return corpus::Loader(corpus::sequential_loader(data, {folder.name("val.bin")},
                                                    model.config().vocab_size, batch));
  }

  /// Without queries all scores are 0: every row weighs its n keys alike.
  void attend_evenly() {
    const params::ParameterSet& set = model.parameters();
    for (const char* layer : {"0", "1"}) {
      const std::string name = std::string("model.layers.") + layer + ".self_attn.q_proj.weight";
      device::fill_zero(stream, set.master(set.find(name)));
    }
  }

  support::TemporaryFolder folder;
  device::Stream stream;
  device::Arena arena;
  model::Model model;
};

}  // namespace ssmax::evaluation
