#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "base/errors.h"

namespace ssmax::train {

/// Notices a rank that hangs. The work names the section it is in and how long it may be silent
/// there; a thread of its own watches.
///
///   Watchdog watchdog(rank, [](const base::Error& error) { print and _exit(7); });
///   {
///     const Watchdog::Section section(watchdog, "validation", 600.0);
///     for (...) { evaluate one batch; watchdog.beat(); }
///   }
class Watchdog {
 public:
  /// Called once, from the watching thread, with Error(hang): "rank 3 silent for 61.0 s in section
  /// backward (allowed: 60.0 s)". The stuck thread cannot be unwound, so it should end the process.
  using OnHang = std::function<void(const base::Error&)>;

  /// Looks every `tick_seconds`; silence is measured to about that.
  Watchdog(int rank, OnHang on_hang, double tick_seconds = 1.0);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  /// A sign of life: silence counts from zero again.
  void beat();

  /// From construction to destruction the work is in a section; sections nest, and the outer one
  /// starts anew when the inner one ends. A timeout of 0 means any silence is allowed.
  class Section {
   public:
    Section(Watchdog& watchdog, std::string_view name, double timeout_seconds);
    ~Section();
    Section(const Section&) = delete;
    Section& operator=(const Section&) = delete;

   private:
    Watchdog& watchdog_;
    std::string outer_name_;
    double outer_timeout_;
  };

 private:
  void enter(std::string name, double timeout_seconds);
  void watch();

  int rank_;
  OnHang on_hang_;
  double tick_seconds_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::string section_;
  double timeout_ = 0.0;  // seconds; 0 = none
  double silent_ = 0.0;   // seconds
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace ssmax::train
