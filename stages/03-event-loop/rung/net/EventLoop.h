#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "rung/base/Task.h"
#include "rung/base/Timestamp.h"
#include "rung/base/noncopyable.h"
#include "rung/net/Channel.h"
#include "rung/net/Poller.h"

namespace rung {

class Mailbox;

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

  /// The part of the loop that may live longer than the loop.
  /// Thread: any.
  [[nodiscard]] const std::shared_ptr<Mailbox>& mailbox() const { return mailbox_; }

  /// When the last wait ended.
  [[nodiscard]] Timestamp pollReturnTime() const { return assertInLoopThread(), pollReturnTime_; }
  /// How many times the loop has waited.
  [[nodiscard]] std::uint64_t iteration() const { return assertInLoopThread(), iteration_; }
  /// How many times the eventfd was written to, to wake it.
  [[nodiscard]] std::uint64_t wakeups() const { return assertInLoopThread(), wakeups_; }

  // For Channel.
  void updateChannel(Channel* channel);
  void removeChannel(Channel* channel);
  [[nodiscard]] bool hasChannel(const Channel* channel) const;

 private:
  void dispatchActiveChannels();
  void runQueuedTasks();
  void runBatch();
  void giveMemoryBack(std::size_t usedTasks);
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
  int smallBatches_ = 0;  // in a row, while batch_ has more memory than they need
};

}  // namespace rung
