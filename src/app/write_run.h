#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint/checkpoint_store.h"
#include "train/run_config.h"

namespace ssmax::app {

/// What a run in that folder is called where nobody says otherwise: as the folder.
std::string name_of_run(const std::filesystem::path& folder);

/// Makes a folder a run that holds one checkpoint and its config.json, as if it had trained so far.
/// Warnings are logged. Errors: see checkpoint::RunLock and checkpoint::CheckpointStore.
checkpoint::SaveReport write_run(const std::filesystem::path& folder,
                                 const train::RunConfig& config, checkpoint::Manifest manifest,
                                 const std::vector<checkpoint::TensorFile>& files);

}  // namespace ssmax::app
