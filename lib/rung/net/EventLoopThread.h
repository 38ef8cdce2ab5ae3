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
/// Lifetime: the destructor ends the loop and joins; what was queued by then is still run, and when
/// it returns no callback of this loop runs any more. Destroyed from one of those callbacks, it
/// ends the loop without waiting: the loop is gone when that callback has returned. Source: muduo
/// net/EventLoopThread.h.
class EventLoopThread : noncopyable {
 public:
  using ThreadInitCallback = std::function<void(EventLoop*)>;

  /// `init` runs on the new thread, before the loop begins.
  explicit EventLoopThread(ThreadInitCallback init = {}, std::string name = {});
  ~EventLoopThread();

  /// Starts the thread; returns its loop when that exists and `init` has run. Once only.
  /// Lifetime of the loop: until this object goes, or somebody quits the loop.
  /// Errors: throws std::system_error if there is no thread, or no descriptor for the loop.
  EventLoop* startLoop();

 private:
  struct Shared;

  static void threadFunction(const std::shared_ptr<Shared>& shared);

  /// What both threads use; the new one may outlive this object.
  const std::shared_ptr<Shared> shared_;
  Thread thread_;
};

}  // namespace rung
