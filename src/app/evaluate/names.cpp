#include "app/evaluate/names.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "app/open_model.h"

namespace ssmax::app {

namespace {

namespace fs = std::filesystem;

/// Where a checkpoint is: RUN and step_N, or a folder that lies in no run, and nothing.
struct Place {
  fs::path run;
  std::string step;
};

Place place_of(const checkpoint::LoadedCheckpoint& loaded) {
  if (const fs::path run = run_of(loaded); !run.empty()) {
    return {run, loaded.folder().filename().string()};
  }
  return {fs::absolute(loaded.folder()).lexically_normal(), ""};
}

/// The last `count` folders of the run's path, and the step.
std::string tail_of(const Place& place, std::ptrdiff_t count, bool with_step) {
  std::string tail = with_step ? place.step : "";
  fs::path rest = place.run;
  for (; count > 0 && rest.has_filename(); --count, rest = rest.parent_path()) {
    tail = rest.filename().string() + (tail.empty() ? "" : "_") + tail;
  }
  return tail;
}

/// Of checkpoints that share a name; empty where nothing tells them apart.
std::vector<std::string> tails_of(const std::vector<Place>& places) {
  std::set<fs::path> runs;
  std::ptrdiff_t longest = 0;
  for (const Place& place : places) {
    runs.insert(place.run);
    longest = std::max(longest, std::distance(place.run.begin(), place.run.end()));
  }
  const bool with_step = runs.size() < places.size();
  for (std::ptrdiff_t count = 1; count <= longest; ++count) {
    std::vector<std::string> tails;
    for (const Place& place : places) tails.push_back(tail_of(place, count, with_step));
    if (std::set(tails.begin(), tails.end()).size() == tails.size()) return tails;
  }
  return {};
}

}  // namespace

std::vector<std::string> told_apart(std::vector<std::string> names,
                                    const std::vector<checkpoint::LoadedCheckpoint>& checkpoints) {
  std::map<std::string, std::vector<std::size_t>> sharing;
  for (std::size_t i = 0; i < names.size(); ++i) sharing[names[i]].push_back(i);
  for (const auto& [name, indices] : sharing) {
    if (indices.size() == 1) continue;
    std::vector<Place> places;
    for (const std::size_t i : indices) places.push_back(place_of(checkpoints[i]));
    const std::vector<std::string> tails = tails_of(places);
    for (std::size_t k = 0; k < tails.size(); ++k) names[indices[k]] = tails[k];
  }
  return names;
}

}  // namespace ssmax::app
