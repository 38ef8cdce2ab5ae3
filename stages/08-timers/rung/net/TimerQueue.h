#pragma once

#include <chrono>
#include <optional>
#include <vector>

#include "rung/base/Mutex.h"
#include "rung/base/Task.h"
#include "rung/base/noncopyable.h"
#include "rung/net/TimerFd.h"
#include "rung/net/TimerHeap.h"
#include "rung/net/TimerId.h"

namespace rung {

class EventLoop;

/// The timers of one loop: a TimerHeap, and one timerfd that is set to the earliest deadline.
/// One mutex guards the heap, so that any thread adds and cancels at once: the id is valid as soon
/// as it is returned, and no task goes to the loop. The loop waits for the lock only while another
/// thread holds it. Callbacks run, and are destroyed, outside the lock.
/// Thread: any, where nothing else is said.
/// Lifetime: made on the loop's thread, destroyed before the loop or by it. Timers that are left
/// are destroyed without having run.
/// Units: steady_clock; setting the wall clock changes nothing.
/// Source: timerfd_settime(2); muduo net/TimerQueue.h.
class TimerQueue : noncopyable {
 public:
  using Clock = std::chrono::steady_clock;
  using Now = Clock::time_point (*)();

  /// `now` is for tests that set the time themselves.
  /// Errors: throws std::system_error if the kernel gives no descriptor.
  explicit TimerQueue(EventLoop* loop, Now now = &Clock::now);
  ~TimerQueue();

  /// See EventLoop::runAt(), runAfter(), runEvery() and cancel().
  TimerId addAt(Clock::time_point deadline, Task callback) RUNG_EXCLUDES(mutex_);
  TimerId addAfter(Clock::duration delay, Task callback) RUNG_EXCLUDES(mutex_);
  TimerId addEvery(Clock::duration interval, Task callback) RUNG_EXCLUDES(mutex_);
  bool cancel(TimerId id) RUNG_EXCLUDES(mutex_);

  /// How many are waiting.
  [[nodiscard]] std::size_t size() const RUNG_EXCLUDES(mutex_);

  /// The descriptor that tells the loop of timers which are due.
  [[nodiscard]] int fd() const { return timerFd_.fd(); }

  /// Destroys all timers, and from now on refuses new ones: they get an id that names none.
  /// For the loop that is being destroyed, and for the destructor.
  void close() RUNG_EXCLUDES(mutex_);

  /// Runs the timers that are due. A timer that a callback adds waits for the next round of the
  /// loop, even if it is due already, so that I/O gets its turn.
  /// Thread: loop, not from a timer's callback. The event of the timerfd calls it, and tests do.
  void runExpired() noexcept RUNG_EXCLUDES(mutex_);

 private:
  [[nodiscard]] Clock::time_point fromNow(Clock::duration delay) const;
  TimerId add(Clock::time_point deadline, Clock::duration interval, Task&& callback)
      RUNG_EXCLUDES(mutex_);
  [[nodiscard]] std::optional<Task> remove(TimerId id) RUNG_EXCLUDES(mutex_);
  [[nodiscard]] Task start(TimerId id) RUNG_EXCLUDES(mutex_);
  void run(const TimerHeap::Expired& expired) RUNG_EXCLUDES(mutex_);

  const Now now_;
  TimerFd timerFd_;
  std::vector<TimerHeap::Expired> batch_;  // the loop's own

  mutable Mutex mutex_;
  TimerHeap heap_ RUNG_GUARDED_BY(mutex_);
  // The deadline that the timerfd is set to. It is set again only when an earlier timer is added,
  // or after it has expired: cancelling the earliest timer leaves it alone, and costs at most one
  // idle round later.
  Clock::time_point armed_ RUNG_GUARDED_BY(mutex_) = (Clock::time_point::max)();
  bool closed_ RUNG_GUARDED_BY(mutex_) = false;
};

}  // namespace rung
