#pragma once

#include <functional>
#include <memory>
#include <string>

#include "rung/base/Thread.h"
#include "rung/base/noncopyable.h"

namespace rung {

class EventLoop;

/// A thread with an EventLoop of its own: "one loop per thread" as an object.
/// Thread: one owner.
/// Lifetime: the destructor ends the loop and joins. Tasks that were queued by then still run; when
/// it returns, no callback of this loop runs any more. If one of those callbacks destroys the
/// object, it ends the loop without waiting: the loop is gone when that callback has returned. See
/// base/Thread.h for the signals that its thread takes.
/// Source: muduo net/EventLoopThread.h.
class EventLoopThread : noncopyable {
 public:
  using ThreadInitCallback = std::function<void(EventLoop*)>;
  using ThreadExitCallback = std::function<void(EventLoop*)>;

  /// `init` runs on the new thread, before the loop begins.
  explicit EventLoopThread(ThreadInitCallback init = {}, std::string name = {});
  ~EventLoopThread();

  /// Called on the new thread when the loop has ended, before it is destroyed: the place to destroy
  /// objects that belong to the loop. A task that it queues is destroyed and not run. Before
  /// startLoop().
  /// Errors: an exception ends the process. The message names the thread.
  void setThreadExitCallback(ThreadExitCallback callback) { exit_ = std::move(callback); }

  /// Starts the thread; returns its loop when that exists and `init` has run.
  /// Lifetime: the loop lives until this object is destroyed, or until a call of its quit().
  /// Errors: throws std::system_error if there is no thread, or no descriptor for the loop, and
  /// what `init` throws. Then the thread has ended, and startLoop() may be called again. Aborts,
  /// with the name of the thread, if it is called again after it has returned.
  EventLoop* startLoop();

 private:
  struct Shared;

  static void threadFunction(const std::shared_ptr<Shared>& shared);

  const ThreadInitCallback init_;
  const std::string name_;
  ThreadExitCallback exit_;
  /// What both threads use; the new one may outlive this object.
  std::shared_ptr<Shared> shared_;
  std::unique_ptr<Thread> thread_;
};

}  // namespace rung
