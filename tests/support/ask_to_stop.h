#pragma once

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "train/signals.h"

namespace ssmax::support {

/// Sends a signal to this process, as a launcher would, and waits until it counts.
inline void ask_to_stop(const train::StopSignals& signals, int signal) {
  kill(getpid(), signal);
  while (signals.requested() == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

}  // namespace ssmax::support
