#include "app/evaluate/needle_options.h"

#include <limits>

#include "app/choice.h"
#include "base/progress.h"

namespace ssmax::app {

void NeedleOptions::add_to(CLI::App& task) {
  task.allow_extras();
  task.add_option("--haystack", haystack,
                  "Long texts: files, JSON Lines, folders, globs; each trial takes a part of one "
                  "document")
      ->required();
  task.add_option("--contexts", contexts, "Tokens of the prompt, several in turn")
      ->required()
      ->delimiter(',')
      ->check(positive_number());
  task.add_option("--trials", trials, "Trials of every cell")
      ->capture_default_str()
      ->check(positive_number());
  task.add_option("--batch", batch, "Trials side by side; 0 = by the context's size")
      ->capture_default_str()
      ->check(non_negative_number());
  task.add_option("--seed", seed, "Of needles and texts")
      ->check(non_negative_number())
      ->capture_default_str();
  add_choice(task, "--needles", needles, kNamesOf<corpus::NeedleSplit>,
             "Cities and numbers: those of training, or others");
  task.add_option("--tokenizer", tokenizer, kModelTokenizerHelp);
  result.add_to(task);
}

evaluation::NeedleTrials NeedleOptions::trials_of(std::int64_t context) const {
  const std::int64_t most = batch > 0 ? batch : kTokensSideBySide / context;
  return {needles, seed, context, trials, even_batch(trials, most)};
}

corpus::Haystack NeedleOptions::read_haystack(const corpus::Tokenizer& from) const {
  return {haystack, from, std::numeric_limits<std::int64_t>::max(),
          base::byte_progress("reading haystack")};
}

}  // namespace ssmax::app
