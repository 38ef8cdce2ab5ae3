#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "rung/base/noncopyable.h"  // refuses older standards

namespace rung {

/// What runs on a loop, for its LoopStats. A Channel whose descriptor is ready to read and to write
/// counts as `read`; the timers of one round count as one.
enum class CallbackKind : std::uint8_t { task, timer, read, write, close };
inline constexpr std::size_t kCallbackKinds = 5;

/// "task", "read": for log lines.
/// Thread: any.
[[nodiscard]] constexpr std::string_view nameOf(CallbackKind kind) {
  constexpr std::string_view kNames[kCallbackKinds] = {"task", "timer", "read", "write", "close"};
  return kNames[static_cast<std::size_t>(kind)];
}

/// What an EventLoop has done since it was made.
/// Thread: any; it is a value.
struct LoopStats {
  std::uint64_t rounds = 0;
  std::uint64_t tasksRun = 0;
  std::size_t tasksWaiting = 0;

  // The rest is zero without EventLoop::watchSlowCallbacks().

  /// The time that was not spent waiting.
  std::chrono::nanoseconds busy{0};
  /// The longest round of the last one to two minutes. What becomes ready meanwhile, or is posted,
  /// waits that long: this is how much the loop lags.
  std::chrono::nanoseconds longestRound{0};
  /// Callbacks that took as long as the limit, or longer.
  std::array<std::uint64_t, kCallbackKinds> slow{};

  [[nodiscard]] std::uint64_t slowOf(CallbackKind kind) const {
    return slow[static_cast<std::size_t>(kind)];
  }
};

}  // namespace rung
