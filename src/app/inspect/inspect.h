#pragma once

#include <filesystem>
#include <iosfwd>
#include <string>

namespace ssmax::app {

/// Prints tables about a safetensors file, a checkpoint's, run's or Hugging Face folder, a token
/// shard, a folder of prepared data or its manifest, a tokenizer, metrics, a log, TensorBoard
/// events or another JSON file. `tokenizer` shows the text of a shard's first tokens; none when
/// empty. Throws after printing what it could when a file is damaged; Error(usage) when it is of no
/// kind that the program writes.
void inspect(std::ostream& out, const std::filesystem::path& path, const std::string& tokenizer);

}  // namespace ssmax::app
