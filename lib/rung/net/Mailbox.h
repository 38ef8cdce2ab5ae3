#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "rung/base/CurrentThread.h"
#include "rung/base/Mutex.h"
#include "rung/base/Task.h"
#include "rung/base/UniqueFd.h"
#include "rung/base/noncopyable.h"

namespace rung {

class EventLoop;

/// The part of an EventLoop that other threads may use: its tasks, the request to quit, and the
/// eventfd that wakes it.
/// It is shared, and outlives the loop. A caller that may outlive the loop holds the Mailbox, which
/// tells it that the loop is gone; a pointer to the loop would dangle.
/// Thread: any, where nothing else is said; created on the loop's.
/// Errors: throws std::system_error from the constructor if the kernel gives no descriptor.
/// Source: eventfd(2), signal-safety(7).
class Mailbox : noncopyable, public std::enable_shared_from_this<Mailbox> {
 public:
  explicit Mailbox(EventLoop* loop);

  /// Appends `task` to what the loop will run, and wakes the loop if it sleeps.
  /// Tasks of one thread run in the order in which it posted them. A task posted after loop() has
  /// returned waits for the next loop(), or is destroyed with the EventLoop.
  /// Errors: returns false if the loop is gone; the caller then still owns the task.
  bool post(Task&& task) RUNG_EXCLUDES(mutex_);

  /// Ends loop(), or the next one if there is none at the moment.
  /// Thread: any; a signal handler, too.
  void requestQuit();

  /// Makes the loop go round once more, at once if it sleeps. One system call.
  /// Thread: any; a signal handler, too.
  void wakeup();

  /// Whether the calling thread is the one that the loop belongs, or belonged, to.
  [[nodiscard]] bool isInLoopThread() const { return threadId_ == CurrentThread::tid(); }
  [[nodiscard]] pid_t threadId() const { return threadId_; }
  /// Whether this is a copy in a child of fork(2), where the loop has no thread.
  [[nodiscard]] bool inForkedChild() const;
  /// The loop this belongs to; nullptr once it is gone.
  [[nodiscard]] EventLoop* loop() const RUNG_EXCLUDES(mutex_);
  [[nodiscard]] std::size_t waitingTasks() const RUNG_EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    return tasks_.size();
  }
  /// Whether loop() runs at the moment.
  [[nodiscard]] bool looping() const RUNG_EXCLUDES(mutex_);

  // The rest is for the EventLoop, on its own thread.

  enum class Next { wait, poll, quit };
  /// Says whether the loop sleeps until something happens, only polls because tasks are waiting, or
  /// ends. After `wait`, a post() writes to the eventfd.
  Next beforeWait();
  /// The loop is awake and will look at its tasks, so a post() need not wake it.
  void afterWait() { asleep_.store(false); }

  /// Moves the tasks into `batch`, which must be empty; its memory is used for the next ones.
  /// A task that is posted at the same time may be left for the next call.
  /// Returns whether there are any.
  bool takeTasks(std::vector<Task>& batch) RUNG_EXCLUDES(mutex_);

  void enterLoop() RUNG_EXCLUDES(mutex_);
  void leaveLoop() RUNG_EXCLUDES(mutex_);
  /// As leaveLoop(), between two rounds: a request to quit stands.
  void restLoop() RUNG_EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    looping_ = false;
  }
  /// The EventLoop is being destroyed.
  void close() RUNG_EXCLUDES(mutex_);

  [[nodiscard]] int wakeupFd() const { return wakeupFd_.get(); }
  /// Empties the eventfd, and notes a request to quit. Returns how many times it was written to
  /// since the last call.
  std::uint64_t drainWakeups();

 private:
  [[nodiscard]] Next next() const { return quit_.load() ? Next::quit : Next::poll; }
  /// Makes the loop look at its tasks once more before it sleeps. If the loop sleeps already,
  /// returns this Mailbox: then this caller, and no other, must ring() after it has released the
  /// mutex. Returns nullptr otherwise.
  [[nodiscard]] std::shared_ptr<Mailbox> askForAttention() RUNG_REQUIRES(mutex_);
  void ring(std::uint64_t count);

  const pid_t threadId_;
  const pid_t processId_;
  const UniqueFd wakeupFd_;
  // True while there are tasks: changed with the mutex held, but looked at without it. A round of
  // the loop without a post takes no lock at all (tools/bench --only instructions).
  std::atomic<bool> attention_{false};
  // True from before the loop's last look at `attention_` until it is awake or a post has woken it.
  // So many posts cost one write, and none while the loop is busy.
  std::atomic<bool> asleep_{false};
  // Only the loop's thread uses it. Atomic, because a signal handler may run in between.
  std::atomic<bool> quit_{false};

  mutable Mutex mutex_;
  EventLoop* loop_ RUNG_GUARDED_BY(mutex_);
  std::vector<Task> tasks_ RUNG_GUARDED_BY(mutex_);
  bool looping_ RUNG_GUARDED_BY(mutex_) = false;
};

}  // namespace rung
