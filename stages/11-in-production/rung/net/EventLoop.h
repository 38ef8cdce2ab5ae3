#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "rung/base/Deadline.h"
#include "rung/base/Task.h"
#include "rung/base/Timestamp.h"
#include "rung/base/noncopyable.h"
#include "rung/net/Channel.h"
#include "rung/net/Counters.h"
#include "rung/net/LoopStats.h"
#include "rung/net/LoopWatch.h"
#include "rung/net/Poller.h"
#include "rung/net/TimerId.h"

namespace rung {

class Mailbox;
class TimerQueue;

/// The reactor: waits for events and hands each to its Channel; between two waits it runs the tasks
/// that other threads have handed to it. One loop per thread: it belongs to the thread that creates
/// it.
/// Thread: loop, where nothing else is said. The wrong thread aborts with a message that has the
/// numbers of both threads, in release builds too.
/// Lifetime: outlives loop(). Its destructor tells the Channels that are still registered. May be
/// destroyed on any thread, but not while loop() runs. Make it after fork(2) and daemon(3): in a
/// child process, a loop of the parent aborts when it is used, and its calls for any thread do
/// nothing. The child can make a loop of its own. It ends with _exit(2) or execve(2): exit(3)
/// destroys static objects, which may wait for threads that the child does not have.
class EventLoop : noncopyable {
 public:
  /// Errors: throws std::system_error if the kernel gives no descriptor; aborts if this thread has
  /// a loop already.
  explicit EventLoop(PollerKind kind = PollerKind::epoll);
  ~EventLoop();

  /// Waits and dispatches until quit(). Tasks that are queued at that moment still run, once.
  /// Errors: an exception from a task ends the process, as one from a Channel's callback does;
  /// aborts when a callback or a task of its own calls it.
  void loop();

  /// One round, for a program whose loop is another's (glib's, Qt's, a game's): waits for at most
  /// `timeout`, dispatches, and runs tasks and timers. With 0, or less, it does not wait. Returns
  /// whether it is to be called again: false once, after quit(), as where loop() would return.
  /// Lifetime: not from a callback or task of this loop: that aborts, as a second loop() does. The
  /// loop may be destroyed between two calls. Meanwhile it does not count as running: a TcpServer
  /// that is destroyed on another thread does not wait for it.
  /// Units: rounded up to milliseconds; 24 days at most.
  template <class Rep, class Period>
  bool runOnce(std::chrono::duration<Rep, Period> timeout) {
    return runRound(saturate<std::chrono::nanoseconds>(timeout));
  }
  /// For a program that calls runOnce(): readable while that has something to do (events, timers
  /// that are due, tasks of any thread, a quit). Watch it level-triggered for reading, and do
  /// nothing else with it.
  /// Lifetime: of the loop; it stays the same.
  /// Errors: throws std::logic_error with PollerKind::poll, which has no such descriptor.
  [[nodiscard]] int pollFd();

  /// Ends loop() after the current round; called on another thread, after the next one. Called
  /// before loop(), it makes that loop() end after its first batch of tasks.
  /// Thread: any; a signal handler, too.
  void quit();

  /// Runs `task` now if called on the loop's thread, else queues it.
  /// Thread: any.
  /// Errors: aborts if `task` is empty.
  void runInLoop(Task task);

  /// Queues `task`; never runs it inline. Each round of the loop runs the tasks that were queued
  /// before it, so that a task which queues itself does not keep I/O waiting. The captures of a
  /// task are destroyed right after it has run.
  /// Thread: any. Tasks of one thread run in its order.
  /// Errors: aborts if `task` is empty.
  void queueInLoop(Task task);

  /// Runs `task` on the loop's thread once `deadline` has come; in the next round if it has passed,
  /// never inline. Timers of equal deadline run in the order in which they were added.
  /// Thread: any.
  /// Lifetime: what is left when the loop goes is destroyed without having run.
  /// Errors: aborts if `task` is empty. An exception from it ends the process.
  /// Units: steady_clock; setting the wall clock changes nothing. A time that the clock cannot hold
  /// becomes its last, centuries away.
  template <class Duration>
  TimerId runAt(std::chrono::time_point<std::chrono::steady_clock, Duration> deadline, Task task) {
    return addTimerAt(deadlineAt(deadline), std::move(task));
  }
  template <class Rep, class Period>
  TimerId runAfter(std::chrono::duration<Rep, Period> delay, Task task) {
    return addTimerAfter(saturate<std::chrono::steady_clock::duration>(delay), std::move(task));
  }

  /// Runs `task` at the end of each `interval`. A run that comes late does not shift those after
  /// it, and what was missed altogether is left out.
  /// Thread: any.
  /// Errors: throws std::invalid_argument unless `interval` is at least a nanosecond; as runAt().
  template <class Rep, class Period>
  TimerId runEvery(std::chrono::duration<Rep, Period> interval, Task task) {
    return addTimerEvery(saturate<std::chrono::steady_clock::duration>(interval), std::move(task));
  }

  /// Ends a timer of this loop. After it returns on the loop's thread, the timer does not run, even
  /// if it was due in the current round; on another thread, a run that has begun may be under way.
  /// Thread: any; from a timer's own callback too.
  /// Errors: false, and nothing done, if there is no such timer any more: it has run, or was
  /// cancelled before.
  bool cancel(TimerId id);

  /// Makes the loop go round once more, at once if it sleeps. One system call.
  /// Thread: any; a signal handler, too.
  void wakeup();

  /// Thread: any.
  [[nodiscard]] bool isInLoopThread() const;
  void assertInLoopThread() const {
    if (!isInLoopThread()) abortNotInLoopThread();
  }

  /// The loop of the calling thread; nullptr if it has none. While static objects are destroyed,
  /// it is nullptr.
  /// Thread: any.
  [[nodiscard]] static EventLoop* ofCurrentThread();

  /// What the loop has done so far: see LoopStats.
  /// Thread: any, while the loop exists.
  [[nodiscard]] LoopStats stats() const;
  /// From now on the loop takes the time: how long it is busy, how long its rounds are, and which
  /// callbacks take `limit` or longer. These go to the log with kind, descriptor and duration, once
  /// a second at most. Off by default, because it looks at the clock once for each callback, which
  /// takes some 25 ns.
  /// Errors: throws std::invalid_argument unless `limit` is at least a nanosecond.
  template <class Rep, class Period>
  void watchSlowCallbacks(std::chrono::duration<Rep, Period> limit) {
    assertInLoopThread();
    watch_.start(saturate<std::chrono::steady_clock::duration>(limit));
  }

  /// The part of the loop that may live longer than the loop.
  /// Thread: any.
  [[nodiscard]] const std::shared_ptr<Mailbox>& mailbox() const { return mailbox_; }

  /// When the last wait ended.
  [[nodiscard]] Timestamp pollReturnTime() const { return assertInLoopThread(), pollReturnTime_; }
  /// How many times the loop has waited.
  [[nodiscard]] std::uint64_t iteration() const { return assertInLoopThread(), rounds_.value(); }
  /// How many times the eventfd was written to, to wake it.
  [[nodiscard]] std::uint64_t wakeups() const { return assertInLoopThread(), wakeups_; }

  // For Channel.
  void updateChannel(Channel* channel);
  void removeChannel(Channel* channel);
  [[nodiscard]] bool hasChannel(const Channel* channel) const;

 private:
  void enter(const char* what);
  bool runRound(std::chrono::nanoseconds timeout);
  void round(std::chrono::milliseconds timeout);
  bool rest();
  void finish();
  void dispatchActiveChannels();
  void finishWatchedRound();
  void dispatchWatched(Channel& channel);
  void runQueuedTasks();
  void runBatch();
  void giveMemoryBack(std::size_t usedTasks);
  TimerId addTimerAt(std::chrono::steady_clock::time_point deadline, Task&& task);
  TimerId addTimerAfter(std::chrono::steady_clock::duration delay, Task&& task);
  TimerId addTimerEvery(std::chrono::steady_clock::duration interval, Task&& task);
  [[noreturn]] void abortNotInLoopThread() const;

  Counter rounds_;
  Counter tasksRun_;
  std::uint64_t wakeups_ = 0;
  Timestamp pollReturnTime_;
  std::unique_ptr<Poller> poller_;
  Poller::ChannelList activeChannels_;
  std::size_t nextActive_ = 0;  // the first of activeChannels_ that is not handled yet
  const std::shared_ptr<Mailbox> mailbox_;
  Channel wakeupChannel_;
  std::vector<Task> batch_;
  int smallBatches_ = 0;  // in a row, while batch_ has more memory than they need
  const std::unique_ptr<TimerQueue> timers_;
  LoopWatch watch_;
};

}  // namespace rung
