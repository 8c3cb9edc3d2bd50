#include "train/metrics.h"

#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/read_file.h"
#include "base/strict_json.h"

namespace ssmax::train {

namespace {

using base::JsonValue;

struct Line {
  MetricsEvent event;
  std::int64_t step;
};

/// Event and step of a line; nothing when it was cut or is none of ours.
std::optional<Line> parse_line(std::string_view text, std::string_view source) {
  try {
    const JsonValue line = base::parse_json_value(text, source, base::ErrorKind::data);
    const JsonValue* event = line.find("event");
    const JsonValue* step = line.find("step");
    if (event == nullptr || step == nullptr || step->type != JsonValue::Type::integer) return {};
    const auto known = base::enum_from_name<MetricsEvent>(event->text);
    if (!known) return {};
    return Line{*known, step->integer};
  } catch (const base::Error&) {
    return {};
  }
}

}  // namespace

MetricsLog MetricsLog::create(const std::filesystem::path& path) {
  base::write_file_atomically(path, std::string_view());
  return MetricsLog(path);
}

MetricsLog MetricsLog::resume(const std::filesystem::path& path, std::int64_t step) {
  std::string old;
  if (std::filesystem::exists(path)) old = base::read_text_file(path, base::ErrorKind::disk);
  ResumedMetrics counts;
  std::vector<Line> kept;
  std::string text;
  for (std::size_t begin = 0; begin < old.size();) {
    const std::size_t newline = old.find('\n', begin);
    const std::size_t end = newline == std::string::npos ? old.size() : newline + 1;
    const std::string_view content = std::string_view(old).substr(begin, end - begin);
    begin = end;
    const auto line =
        newline == std::string::npos ? std::nullopt : parse_line(content, path.string());
    if (!line) {
      ++counts.damaged;
    } else if (line->step > step || line->event == MetricsEvent::end) {
      ++counts.dropped;
    } else {
      kept.push_back(*line);
      text += content;
    }
  }
  counts.kept = static_cast<std::int64_t>(kept.size());
  if (text != old) base::write_file_atomically(path, text);
  MetricsLog log(path);
  log.resumed_ = counts;
  for (const Line& line : kept) log.remember(line.event, line.step);
  return log;
}

void MetricsLog::write(const StepMetrics& metrics) {
  JsonValue members = JsonValue::object();
  members.add("loss", JsonValue::of(metrics.loss))
      .add("learning_rate", JsonValue::of(metrics.learning_rate))
      .add("gradient_norm", JsonValue::of(metrics.gradient_norm))
      .add("tokens", JsonValue::of(metrics.tokens))
      .add("tokens_per_second", JsonValue::of(metrics.tokens_per_second))
      .add("model_flops_utilization", JsonValue::of(metrics.model_flops_utilization));
  if (metrics.ranks > 1) {
    members.add("communication_seconds", JsonValue::of(metrics.communication_seconds))
        .add("exposed_seconds", JsonValue::of(metrics.exposed_seconds));
  }
  if (metrics.skipped) members.add("skipped", JsonValue::of(true));
  write(MetricsEvent::step, metrics.step, members);
}

void MetricsLog::write(const ValidationMetrics& metrics) {
  JsonValue members = JsonValue::object();
  members.add("loss", JsonValue::of(metrics.loss))
      .add("tokens", JsonValue::of(metrics.tokens))
      .add("seconds", JsonValue::of(metrics.seconds));
  write(MetricsEvent::validation, metrics.step, members);
}

void MetricsLog::write(MetricsEvent event, std::int64_t step, const JsonValue& members) {
  if (step < newest_) throw std::logic_error("metrics.jsonl: steps must not go back");
  JsonValue line = JsonValue::object();
  line.add("event", JsonValue::of(base::enum_name(event))).add("step", JsonValue::of(step));
  for (const base::JsonMember& member : members.members) line.add(member.key, member.value);
  file_.append(base::to_text(line) + '\n');
  remember(event, step);
}

bool MetricsLog::has(MetricsEvent event, std::int64_t step) const {
  return step == newest_ && (events_ >> static_cast<unsigned>(event) & 1U) != 0;
}

void MetricsLog::remember(MetricsEvent event, std::int64_t step) {
  if (step != newest_) events_ = 0;
  newest_ = step;
  events_ |= 1U << static_cast<unsigned>(event);
}

}  // namespace ssmax::train
