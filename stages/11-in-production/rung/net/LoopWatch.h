#pragma once

#include <array>
#include <chrono>

#include "rung/base/LogLimit.h"
#include "rung/base/noncopyable.h"
#include "rung/net/Counters.h"
#include "rung/net/LoopStats.h"

namespace rung {

/// Takes the time of a loop's callbacks, with one look at the clock for each: a callback begins
/// when the one before it has ended.
/// Thread: loop; addTo() any.
class LoopWatch : noncopyable {
 public:
  using Clock = std::chrono::steady_clock;
  using Now = Clock::time_point (*)();

  /// Tests bring a time of their own.
  explicit LoopWatch(Now now = Clock::now) : now_(now) {}

  /// Errors: throws std::invalid_argument unless `limit` is at least a nanosecond.
  void start(Clock::duration limit);
  [[nodiscard]] bool started() const { return started_; }

  void roundBegins();
  /// `fd`: -1 if there is none.
  void ran(CallbackKind kind, int fd);
  void roundEnds();

  void addTo(LoopStats& stats) const;

 private:
  void warn(CallbackKind kind, int fd, Clock::duration took);

  const Now now_;
  bool started_ = false;
  Clock::duration limit_{0};
  Clock::time_point begin_;
  Clock::time_point last_;
  LogLimit warnings_{std::chrono::seconds(1)};
  Counter busy_;
  // Minutes of the clock: a maximum that is never forgotten soon says nothing more.
  Counter minute_;
  Counter longest_;        // in that minute
  Counter longestBefore_;  // in the one before
  std::array<Counter, kCallbackKinds> slow_;
};

}  // namespace rung
