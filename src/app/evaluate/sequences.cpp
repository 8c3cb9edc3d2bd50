#include "app/evaluate/sequences.h"

namespace ssmax::app {

void SequenceOptions::add_to(CLI::App& task) {
  task.add_option("--data", data, "Token shards or globs; default data.validation");
  task.add_flag("--documents", documents, "Sequences that lie within one document");
}

const std::vector<std::string>& SequenceOptions::shards(const OpenModel& open) const {
  return data.empty() ? open.config.data.validation : data;
}

std::int64_t SequenceOptions::length(const OpenModel& open) const {
  return sequence_length == 0 ? open.config.data.sequence_length : sequence_length;
}

corpus::Loader SequenceOptions::loader(const OpenModel& open, corpus::DataConfig how,
                                       std::int64_t batch, std::int64_t sequences) const {
  const std::vector<std::string>& files = shards(open);
  if (files.empty()) {
    throw base::Error(base::ErrorKind::usage,
                      "no data: name token shards with --data, the checkpoint's config has no "
                      "data.validation");
  }
  how.sequence_length = length(open);
  if (!data.empty()) how.kind = corpus::DataKind::stream;
  if (documents) how.kind = corpus::DataKind::documents;
  corpus::LoaderOptions options =
      corpus::sequential_loader(how, files, open.config.model.vocab_size, batch);
  options.least_samples = sequences;
  return corpus::Loader(options);
}

}  // namespace ssmax::app
