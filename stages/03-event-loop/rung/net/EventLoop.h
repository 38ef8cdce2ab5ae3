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
};

}  // namespace rung
