#pragma once

#include <sys/types.h>

#include <atomic>
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

/// All that other threads may touch of an EventLoop: tasks for it, the wish that it quits, and the
/// eventfd that wakes it.
/// It is shared, and outlives the loop: whoever might come too late holds the Mailbox and is told
/// so, where a pointer to the loop would dangle.
/// Thread: any, where nothing else is said; created on the loop's.
/// Errors: throws std::system_error from the constructor if the kernel gives no descriptor.
/// Source: eventfd(2).
class Mailbox : noncopyable, public std::enable_shared_from_this<Mailbox> {
 public:
  explicit Mailbox(EventLoop* loop);

  /// Appends `task` to what the loop will run, and wakes the loop if it sleeps.
  /// Tasks of one thread run in the order in which it posted them. A task posted after loop() has
  /// returned waits for the next loop(), or is destroyed with the EventLoop.
  /// Errors: false if the loop is gone; the task is then still the caller's, who destroys it.
  bool post(Task&& task) EXCLUDES(mutex_);

  /// Ends loop(), or the next one if there is none at the moment.
  void requestQuit() EXCLUDES(mutex_);

  /// Makes the loop go round once more, at once if it sleeps.
  void wakeup() EXCLUDES(mutex_);

  /// Whether the calling thread is the one that the loop belongs, or belonged, to.
  [[nodiscard]] bool isInLoopThread() const { return threadId_ == CurrentThread::tid(); }
  [[nodiscard]] pid_t threadId() const { return threadId_; }
  /// The loop this belongs to; nullptr once it is gone.
  [[nodiscard]] EventLoop* loop() const EXCLUDES(mutex_);
  /// Whether loop() runs at the moment.
  [[nodiscard]] bool looping() const EXCLUDES(mutex_);

  // The rest is for the EventLoop, on its own thread.

  enum class Next { wait, poll, quit };
  /// What to do next: sleep until something happens, only look because tasks are waiting, or end.
  /// After `wait`, a post() rings the bell.
  Next beforeWait() EXCLUDES(mutex_);
  /// The loop is awake and will look at its tasks, so nobody needs to ring.
  void afterWait() { asleep_.store(false); }

  /// Moves the tasks into `batch`, which must be empty; its memory is used for the next ones.
  /// What is posted at this very moment may be left for the next time.
  void takeTasks(std::vector<Task>& batch) EXCLUDES(mutex_);

  void enterLoop() EXCLUDES(mutex_);
  void leaveLoop() EXCLUDES(mutex_);
  /// The EventLoop is being destroyed.
  void close() EXCLUDES(mutex_);

  [[nodiscard]] int wakeupFd() const { return wakeupFd_.get(); }
  /// Empties the eventfd. Returns how many times it was written to since the last call.
  std::uint64_t drainWakeups();

 private:
  Next nextUnderLock() EXCLUDES(mutex_);
  /// Sees to it that the loop looks at its tasks once more before it sleeps. Returns this Mailbox
  /// if the loop sleeps already, which is then for the caller alone to ring(), with the mutex free;
  /// else nullptr.
  [[nodiscard]] std::shared_ptr<Mailbox> askForAttention() REQUIRES(mutex_);
  void ring();

  const pid_t threadId_;
  const UniqueFd wakeupFd_;
  // True while there are tasks, or a wish to quit or to be woken: changed with the mutex held, but
  // looked at without it. A round of the loop in which nobody has posted anything takes no lock at
  // all (tools/bench --only instructions).
  std::atomic<bool> attention_{false};
  // True from before the loop's last look at `attention_` until it is awake or somebody has woken
  // it. So many posts cost one write, and none while the loop is busy.
  std::atomic<bool> asleep_{false};

  mutable Mutex mutex_;
  EventLoop* loop_ GUARDED_BY(mutex_);
  std::vector<Task> tasks_ GUARDED_BY(mutex_);
  bool quit_ GUARDED_BY(mutex_) = false;
  bool looping_ GUARDED_BY(mutex_) = false;
};

}  // namespace rung
