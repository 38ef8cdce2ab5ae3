#pragma once

#include <chrono>
#include <functional>

#include "rung/base/Deadline.h"
#include "rung/base/UniqueFd.h"
#include "rung/base/noncopyable.h"
#include "rung/net/Channel.h"

namespace rung {

class EventLoop;

/// One alarm of one loop, as a descriptor: it becomes readable when the time has come.
/// For an object that needs one deadline of its own (an Acceptor that pauses, a server that stops).
/// Thread: loop; arm() and disarm() any, one at a time.
/// Lifetime: a member of its owner. The callback may arm it again, but not destroy it.
/// Units: steady_clock; setting the wall clock changes nothing.
/// Source: timerfd_create(2).
class TimerFd : noncopyable {
 public:
  using Clock = std::chrono::steady_clock;
  using Callback = std::function<void()>;

  /// Errors: throws std::system_error if the kernel gives no descriptor; aborts without a loop.
  TimerFd(EventLoop* loop, Callback callback);
  ~TimerFd();

  /// Calls back once, at `deadline`, or in the loop's next round if that has passed. An earlier
  /// arm() is forgotten.
  /// Units: a time that the clock cannot hold becomes its last, centuries away.
  template <class Duration>
  void arm(std::chrono::time_point<Clock, Duration> deadline) {
    set(deadlineAt(deadline));
  }
  template <class Rep, class Period>
  void arm(std::chrono::duration<Rep, Period> delay) {
    set(deadlineAfter(delay));
  }
  void disarm();

  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  void handleRead();
  void set(Clock::time_point deadline);
  void setKernel(Clock::duration sinceBoot);

  const UniqueFd fd_;
  Channel channel_;
  const Callback callback_;
};

}  // namespace rung
