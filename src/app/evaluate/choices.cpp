#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "app/evaluate/evaluate.h"
#include "base/json_lines.h"
#include "base/progress.h"
#include "base/strict_json.h"
#include "evaluation/continuations.h"

namespace ssmax::app {

namespace {

using base::JsonValue;
using evaluation::ChoiceQuestion;
using evaluation::Continuation;
using evaluation::ContinuationScore;

struct ChoiceOptions {
  std::string data;
  std::string tokenizer;
  ResultFile result;
  std::int64_t limit = 0;
  std::int64_t max_length = 0;
  bool items = false;
};

[[noreturn]] void fail(const std::string& file, std::int64_t line, const std::string& reason) {
  throw base::Error(base::ErrorKind::data, base::located(file, static_cast<int>(line), "", reason));
}

/// The first letter upper, the others lower, as Python's capitalize() does with ASCII.
std::string capitalized(std::string text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c < 128) text[i] = static_cast<char>(i == 0 ? std::toupper(c) : std::tolower(c));
  }
  return text;
}

/// A line of HellaSwag, as it was published (ctx_a, ctx_b) or with one context (ctx).
ChoiceQuestion question_of(const JsonValue& line, const std::string& file, std::int64_t number) {
  const auto text = [&](const char* key) -> const std::string& {
    return base::string_member(line, key, file, number, base::ErrorKind::data);
  };
  ChoiceQuestion question;
  std::string context = text("activity_label");
  context.append(": ");
  if (line.find("ctx_a") != nullptr) {
    context.append(text("ctx_a")).append(" ").append(capitalized(text("ctx_b")));
  } else {
    context.append(text("ctx"));
  }
  question.context = evaluation::clean_hellaswag(context);
  const JsonValue* endings = line.find("endings");
  if (endings == nullptr || endings->type != JsonValue::Type::array || endings->items.empty()) {
    fail(file, number, "expected the list \"endings\"");
  }
  for (const JsonValue& ending : endings->items) {
    if (ending.type != JsonValue::Type::string) fail(file, number, "an ending is no string");
    question.endings.push_back(evaluation::clean_hellaswag(ending.text));
    if (question.endings.back().empty()) fail(file, number, "an ending is empty");
  }
  const JsonValue* label = line.find("label");
  std::int64_t answer = -1;
  if (label != nullptr && label->type == JsonValue::Type::integer) answer = label->integer;
  if (label != nullptr && label->type == JsonValue::Type::string && label->text.size() == 1) {
    answer = label->text.front() - '0';
  }
  if (answer < 0 || answer >= std::ssize(question.endings)) {
    fail(file, number, "\"label\" must be the index of the right ending");
  }
  question.answer = static_cast<std::size_t>(answer);
  return question;
}

std::vector<ContinuationScore> score_all(OpenModel& open, const ChoiceOptions& options,
                                         const char* task,
                                         const std::vector<Continuation>& continuations) {
  const std::int64_t max_length =
      options.max_length > 0 ? options.max_length : open.config.model.max_position_embeddings;
  const std::int64_t tokens =
      std::accumulate(continuations.begin(), continuations.end(), std::int64_t{0},
                      [&](std::int64_t sum, const Continuation& c) {
                        const auto all = std::ssize(c.context) + std::ssize(c.tokens) - 1;
                        return sum + std::min<std::int64_t>(all, max_length);
                      });
  base::Progress progress(std::string("evaluate ") + task, tokens, {.unit = "tokens"});
  return evaluation::score(open.stream, open.model, continuations, max_length,
                           [&](std::int64_t done) { progress.advance(done); });
}

/// A share and its standard error, as the harness gives it.
void add_share(JsonValue& json, const char* key, std::int64_t hits, std::int64_t count) {
  const auto n = static_cast<double>(count);
  const double share = static_cast<double>(hits) / n;
  json.add(key, JsonValue::of(share));
  json.add(std::string(key) + "_standard_error",
           JsonValue::of(count > 1 ? std::sqrt(share * (1 - share) / (n - 1)) : 0.0));
}

JsonValue run_multiple_choice(OpenModel& open, const ChoiceOptions& options) {
  const corpus::Tokenizer tokenizer = need_tokenizer(options.tokenizer, open);
  std::vector<ChoiceQuestion> questions;
  base::visit_json_lines(options.data, base::ErrorKind::data,
                         [&](const JsonValue& line, std::int64_t number) {
                           if (options.limit > 0 && std::ssize(questions) >= options.limit) return;
                           questions.push_back(question_of(line, options.data, number));
                         });
  std::vector<Continuation> continuations;
  for (const ChoiceQuestion& question : questions) {
    for (const std::string& ending : question.endings) {
      continuations.push_back(
          evaluation::encode_pair(tokenizer, question.context, std::string(1, ' ').append(ending)));
    }
  }
  const auto scores = score_all(open, options, "multiple-choice", continuations);
  std::int64_t right = 0;
  std::int64_t right_per_character = 0;
  JsonValue items = JsonValue::array();
  std::size_t at = 0;
  for (const ChoiceQuestion& question : questions) {
    const auto own = std::span(scores).subspan(at, question.endings.size());
    at += own.size();
    const evaluation::Choice choice = evaluation::choose(question, own);
    right += choice.likeliest == question.answer ? 1 : 0;
    right_per_character += choice.likeliest_per_character == question.answer ? 1 : 0;
    std::vector<double> values;
    for (const ContinuationScore& score : own) values.push_back(score.log_likelihood);
    items.items.push_back(json_list(values));
  }
  const auto count = static_cast<std::int64_t>(questions.size());
  if (count == 0) throw base::Error(base::ErrorKind::data, options.data + ": no question");
  JsonValue json = result_of("multiple-choice", open);
  json.add("data", JsonValue::of(options.data));
  json.add("questions", JsonValue::of(count));
  add_share(json, "acc", right, count);
  add_share(json, "acc_norm", right_per_character, count);
  if (options.items) json.add("log_likelihoods", std::move(items));
  std::printf("acc %.4f, acc_norm %.4f over %lld questions\n",
              static_cast<double>(right) / static_cast<double>(count),
              static_cast<double>(right_per_character) / static_cast<double>(count),
              static_cast<long long>(count));
  return json;
}

JsonValue run_cloze(OpenModel& open, const ChoiceOptions& options) {
  const corpus::Tokenizer tokenizer = need_tokenizer(options.tokenizer, open);
  std::vector<Continuation> continuations;
  base::visit_json_lines(
      options.data, base::ErrorKind::data, [&](const JsonValue& line, std::int64_t number) {
        if (options.limit > 0 && std::ssize(continuations) >= options.limit) return;
        const std::string& text =
            base::string_member(line, "text", options.data, number, base::ErrorKind::data);
        const std::size_t cut = text.rfind(' ');
        if (cut == std::string::npos) fail(options.data, number, "the text has one word only");
        continuations.push_back(evaluation::encode_pair(
            tokenizer, std::string_view(text).substr(0, cut), std::string_view(text).substr(cut)));
      });
  const auto count = static_cast<std::int64_t>(continuations.size());
  if (count == 0) throw base::Error(base::ErrorKind::data, options.data + ": no text");
  const auto scores = score_all(open, options, "cloze", continuations);
  double sum = 0.0;
  std::int64_t right = 0;
  std::vector<double> values;
  for (const ContinuationScore& score : scores) {
    sum += score.log_likelihood;
    right += score.greedy ? 1 : 0;
    values.push_back(score.log_likelihood);
  }
  const double perplexity = std::exp(-sum / static_cast<double>(count));
  JsonValue json = result_of("cloze", open);
  json.add("data", JsonValue::of(options.data));
  json.add("questions", JsonValue::of(count));
  json.add("perplexity", JsonValue::of(perplexity));
  add_share(json, "acc", right, count);
  if (options.items) json.add("log_likelihoods", json_list(values));
  std::printf("perplexity %.4f, acc %.4f over %lld texts\n", perplexity,
              static_cast<double>(right) / static_cast<double>(count),
              static_cast<long long>(count));
  return json;
}

void add_task(CLI::App& evaluate, const std::shared_ptr<Evaluation>& evaluation, const char* name,
              const char* help, const char* footer,
              JsonValue (*run)(OpenModel& open, const ChoiceOptions& options)) {
  auto* task = evaluate.add_subcommand(name, help);
  task->allow_extras();
  task->footer(footer);
  auto options = std::make_shared<ChoiceOptions>();
  task->add_option("--data", options->data, "JSON Lines file of the questions")->required();
  task->add_option("--limit", options->limit, "Only the first so many; 0 = all")
      ->check(non_negative_number());
  task->add_option("--max-length", options->max_length,
                   "Longest context; what is longer loses its beginning; default the training "
                   "length")
      ->check(positive_number());
  task->add_option("--tokenizer", options->tokenizer, kModelTokenizerHelp);
  task->add_flag("--items", options->items, "Write the log-likelihood of every item too");
  options->result.add_to(*task);
  task->callback([evaluation, options, run] {
    evaluate_each(*evaluation, options->result, [&](OpenModel& open, const std::filesystem::path&) {
      return run(open, *options);
    });
  });
}

}  // namespace

void add_choice_tasks(CLI::App& evaluate, const std::shared_ptr<Evaluation>& evaluation) {
  add_task(evaluate, evaluation, "multiple-choice", "HellaSwag and sets of its form",
           "Lines with activity_label, ctx (or ctx_a and ctx_b), endings and label. acc: the "
           "right\nending has the largest likelihood; acc_norm: the largest per character. As\n"
           "lm-evaluation-harness defines them.",
           run_multiple_choice);
  add_task(evaluate, evaluation, "cloze", "LAMBADA: the last word of a text",
           "Lines with text. perplexity: of the last word; acc: greedy decoding finds it. As\n"
           "lm-evaluation-harness defines them.",
           run_cloze);
}

}  // namespace ssmax::app
