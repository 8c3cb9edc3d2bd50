#pragma once

#include <cstdint>
#include <filesystem>

#include "corpus/shard.h"

namespace ssmax::corpus {

/// PREFIX.idx beside PREFIX.bin, the "MMIDIDX" data sets of Megatron-LM, GPT-NeoX and nanotron:
///   9 bytes "MMIDIDX\0\0", uint64 version 1, uint8 code of the type (4 int32, 8 uint16),
///   uint64 sequences S, uint64 documents D, int32 lengths[S], int64 byte offsets[S],
///   int64 first sequences of documents[D]
/// PREFIX.bin holds the tokens and nothing else.
struct MegatronIndex {
  TokenType type = TokenType::uint16;
  std::int64_t sequences = 0;
  std::int64_t tokens = 0;
};

/// The index beside a file of tokens; its path whether it is there or not.
std::filesystem::path megatron_index_path(const std::filesystem::path& tokens);

/// Reads the index and checks that the sequences lie one behind the other from the start of the
/// file. Error(data) with file and offset, also for other types of tokens.
MegatronIndex read_megatron_index(const std::filesystem::path& path);

}  // namespace ssmax::corpus
