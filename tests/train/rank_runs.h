#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "comm/ranks_fixture.h"
#include "support/temporary_folder.h"
#include "train/train_fixture.h"
#include "train/trainer.h"

namespace ssmax::train {

/// Runs of all ranks together, in a folder of rank 0.
class RankRuns : public ::testing::Test {
 protected:
  void make_data(std::int64_t train_tokens, std::int64_t validation_tokens) {
    data_ = comm::world().broadcast(own_.path().string());
    if (comm::world().is_root()) {
      write_tokens(data_ / "train.bin", train_tokens);
      write_tokens(data_ / "val.bin", validation_tokens);
    }
    comm::world().barrier();
  }
  // The folder of rank 0 goes with its fixture, when nobody needs it any more.
  void TearDown() override { comm::world().barrier(); }

  void run(const RunConfig& config, const std::string& name,
           comm::Communicator& ranks = comm::world()) {
    {
      Trainer trainer(config, data_ / name, ranks);
      trainer.run(signals_, watchdog_);
    }
    ranks.barrier();
  }

  /// Weights and moments at the end as double, by name.
  std::map<std::string, std::vector<double>> tensors(const std::string& name) {
    std::map<std::string, std::vector<double>> result;
    const auto loaded = checkpoint::load(data_ / name);
    for (const checkpoint::TensorInfo& info : loaded.tensors()) {
      std::vector<double>& values = result[info.name];
      values.resize(static_cast<std::size_t>(info.elements()));
      loaded.read_elements(info.name, 0, device::view(values.data(), {info.elements()}));
    }
    return result;
  }

  support::TemporaryFolder own_;
  std::filesystem::path data_;
  StopSignals signals_{75};
  Watchdog watchdog_{0, [](const base::Error& error) { FAIL() << error.what(); }};
};

}  // namespace ssmax::train
