#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "rung/base/Task.h"
#include "rung/base/Timestamp.h"
#include "rung/base/noncopyable.h"
#include "rung/net/Channel.h"
#include "rung/net/Poller.h"
#include "rung/net/TimerId.h"

namespace rung {

class Mailbox;
class TimerQueue;

/// The reactor: waits for events and hands each to its Channel; in between, runs what other threads
/// have handed to it. One loop per thread: it belongs to the thread that creates it.
/// Thread: loop, where nothing else is said. The wrong thread aborts, in release builds too.
/// Lifetime: outlives loop(); Channels that are registered when it goes are told so. May be
/// destroyed on any thread, but not while loop() runs.
class EventLoop : noncopyable {
 public:
  /// Errors: throws std::system_error if the kernel gives no descriptor; aborts if this thread has
  /// a loop already.
  explicit EventLoop(PollerKind kind = PollerKind::epoll);
  ~EventLoop();

  /// Waits and dispatches until quit(). What is queued at that moment is still run, once.
  void loop();

  /// Ends loop() after the round at hand. Called before loop(), it makes that loop() end after its
  /// first batch of tasks.
  /// Thread: any.
  void quit();

  /// Runs `task` now if called on the loop's thread, else queues it.
  /// Thread: any.
  void runInLoop(Task task);

  /// Queues `task`; never runs it inline. Each round of the loop runs the tasks that were queued
  /// before it, so that a task which queues itself does not keep I/O waiting.
  /// Thread: any. Tasks of one thread run in its order.
  void queueInLoop(Task task);

  /// Runs `task` on the loop's thread once `deadline` has come; in the next round if it has passed,
  /// never inline. Timers of equal deadline run in the order in which they were added.
  /// Thread: any.
  /// Lifetime: what is left when the loop goes is destroyed without having run.
  /// Units: steady_clock; setting the wall clock changes nothing.
  TimerId runAt(std::chrono::steady_clock::time_point deadline, Task task);
  TimerId runAfter(std::chrono::steady_clock::duration delay, Task task);

  /// Runs `task` at the end of each `interval`. A run that comes late does not shift those after
  /// it, and what was missed altogether is left out.
  /// Thread: any.
  /// Errors: throws std::invalid_argument unless `interval` is more than zero.
  TimerId runEvery(std::chrono::steady_clock::duration interval, Task task);

  /// Ends a timer of this loop. After it returns on the loop's thread, the timer does not run, even
  /// if it was due in the round at hand; on another thread, a run that has begun may be under way.
  /// Thread: any; from a timer's own callback too.
  /// Errors: false, and nothing done, if there is no such timer any more: it has run, or was
  /// cancelled before.
  bool cancel(TimerId id);

  /// Makes the loop go round once more, at once if it sleeps.
  /// Thread: any.
  void wakeup();

  /// Thread: any.
  [[nodiscard]] bool isInLoopThread() const;
  void assertInLoopThread() const {
    if (!isInLoopThread()) abortNotInLoopThread();
  }

  /// The loop of the calling thread; nullptr if it has none.
  [[nodiscard]] static EventLoop* ofCurrentThread();

  /// What may be held longer than the loop lives.
  /// Thread: any.
  [[nodiscard]] const std::shared_ptr<Mailbox>& mailbox() const { return mailbox_; }

  /// When the last wait ended.
  [[nodiscard]] Timestamp pollReturnTime() const { return pollReturnTime_; }
  /// How many times the loop has waited.
  [[nodiscard]] std::uint64_t iteration() const { return iteration_; }
  /// How many times another thread had to wake it with a system call.
  [[nodiscard]] std::uint64_t wakeups() const { return wakeups_; }

  // For Channel.
  void updateChannel(Channel* channel);
  void removeChannel(Channel* channel);
  [[nodiscard]] bool hasChannel(const Channel* channel) const;

 private:
  void dispatchActiveChannels();
  void runQueuedTasks() noexcept;
  [[noreturn]] void abortNotInLoopThread() const;

  std::uint64_t iteration_ = 0;
  std::uint64_t wakeups_ = 0;
  Timestamp pollReturnTime_;
  std::unique_ptr<Poller> poller_;
  Poller::ChannelList activeChannels_;
  std::size_t nextActive_ = 0;  // the first of activeChannels_ that is not handled yet
  const std::shared_ptr<Mailbox> mailbox_;
  Channel wakeupChannel_;
  std::vector<Task> batch_;
  const std::unique_ptr<TimerQueue> timers_;
};

}  // namespace rung
