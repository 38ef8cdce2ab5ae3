#pragma once

#include <chrono>
#include <cstdint>

#include "rung/base/Task.h"

namespace rung {

/// One slot of a TimerHeap: what to call, when, and which timer it is.
/// Thread: that of its heap.
struct Timer {
  /// Larger for each timer that is added; 0 while the slot is free.
  std::uint64_t serial = 0;
  std::chrono::steady_clock::time_point deadline;
  /// Zero: once.
  std::chrono::steady_clock::duration interval{0};
  Task callback;
};

}  // namespace rung
