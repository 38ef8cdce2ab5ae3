#include "rung/net/TimerQueue.h"

#include <new>
#include <stdexcept>
#include <string>
#include <utility>

#include "rung/base/Deadline.h"
#include "rung/base/Guarded.h"
#include "rung/base/Logging.h"

namespace rung {

TimerQueue::TimerQueue(EventLoop* loop, Now now)
    : now_(now), timerFd_(loop, [this] { runExpired(); }) {}

TimerQueue::~TimerQueue() {
  close();
}

TimerId TimerQueue::addAt(Clock::time_point deadline, Task callback) {
  return add(deadline, Clock::duration::zero(), std::move(callback));
}

TimerId TimerQueue::addAfter(Clock::duration delay, Task callback) {
  return add(fromNow(delay), Clock::duration::zero(), std::move(callback));
}

TimerId TimerQueue::addEvery(Clock::duration interval, Task callback) {
  if (interval <= Clock::duration::zero()) {
    throw std::invalid_argument("interval of a timer, in ns: " + std::to_string(interval.count()));
  }
  return add(fromNow(interval), interval, std::move(callback));
}

TimerQueue::Clock::time_point TimerQueue::fromNow(Clock::duration delay) const {
  return deadlineAfter(delay, now_());
}

TimerId TimerQueue::add(Clock::time_point deadline, Clock::duration interval, Task&& callback) {
  if (!callback) LOG_FATAL << "an empty task was given to a timer";
  const MutexLock lock(mutex_);
  if (closed_) return {};
  const TimerId id = heap_.add(deadline, interval, std::move(callback));
  if (deadline < armed_) {
    // Any thread may set it: the kernel wakes the loop at the deadline. Under the mutex, so that
    // two threads cannot set it in the wrong order.
    armed_ = deadline;
    timerFd_.arm(deadline);
  }
  return id;
}

// The callback is destroyed here, outside the lock: its captures may cancel other timers.
bool TimerQueue::cancel(TimerId id) {
  return remove(id).has_value();
}

std::optional<Task> TimerQueue::remove(TimerId id) {
  const MutexLock lock(mutex_);
  return heap_.remove(id);
}

std::size_t TimerQueue::size() const {
  const MutexLock lock(mutex_);
  return heap_.size();
}

void TimerQueue::close() {
  TimerHeap unrun;  // destroyed outside the lock, as above
  const MutexLock lock(mutex_);
  closed_ = true;
  std::swap(heap_, unrun);
}

// noexcept: an exception from a callback ends the process where it was thrown, with the stack
// intact.
void TimerQueue::runExpired() noexcept {
  {
    const MutexLock lock(mutex_);
    try {
      heap_.takeExpired(now_(), batch_);
    } catch (const std::bad_alloc&) {  // the rest stays due, for the next round
    }
  }
  for (const TimerHeap::Expired& expired : batch_)
    run(expired);
  batch_.clear();
  // Once for all timers that the batch has added. While it ran, armed_ was in the past and each new
  // deadline later, so add() has not set the timerfd.
  const MutexLock lock(mutex_);
  armed_ = heap_.earliest();
  if (armed_ != Clock::time_point::max()) timerFd_.arm(armed_);
}

Task TimerQueue::start(TimerId id) {
  const MutexLock lock(mutex_);
  return heap_.start(id);
}

void TimerQueue::run(const TimerHeap::Expired& expired) {
  Task callback = start(expired.id);
  if (!callback) return;  // cancelled since the batch was put together
  runGuarded(callback, [] { return std::string("the callback of a timer"); });
  if (!expired.repeats) return;
  const Clock::time_point now = now_();
  const MutexLock lock(mutex_);
  heap_.finish(expired.id, now, std::move(callback));
}

}  // namespace rung
