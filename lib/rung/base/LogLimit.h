#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <utility>

#include "rung/base/Mutex.h"
#include "rung/base/noncopyable.h"

namespace rung {

/// Lets one log line through in each interval, and counts the others: for what a peer can bring
/// about as often as it likes.
///
///     if (const auto others = limit.next()) LOG_WARN << "..., and " << *others << " before it";
///
/// Thread: any.
class LogLimit : noncopyable {
 public:
  using Clock = std::chrono::steady_clock;

  explicit LogLimit(Clock::duration interval) : interval_(interval) {}

  /// If a line is due: how many were held back since the last one. Otherwise nothing, and this one
  /// counts as held back.
  [[nodiscard]] std::optional<std::uint64_t> next(Clock::time_point now = Clock::now())
      RUNG_EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    if (now < due_) {
      ++heldBack_;
      return std::nullopt;
    }
    due_ = now + interval_;
    return std::exchange(heldBack_, 0);
  }

 private:
  const Clock::duration interval_;
  Mutex mutex_;
  Clock::time_point due_ RUNG_GUARDED_BY(mutex_){};
  std::uint64_t heldBack_ RUNG_GUARDED_BY(mutex_) = 0;
};

}  // namespace rung
