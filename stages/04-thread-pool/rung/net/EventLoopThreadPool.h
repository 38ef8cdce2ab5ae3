#pragma once

#include <memory>
#include <string>
#include <vector>

#include "rung/base/noncopyable.h"
#include "rung/net/EventLoopThread.h"

namespace rung {

/// The sub-reactors of a server: EventLoopThreads, whose loops are handed out in turn.
/// With no threads, the base loop does all the work itself.
/// Thread: the base loop's; another one aborts.
/// Lifetime: the destructor ends all loops and joins their threads; see EventLoopThread for a
/// destructor that runs on one of them.
/// Source: muduo net/EventLoopThreadPool.h.
class EventLoopThreadPool : noncopyable {
 public:
  using ThreadInitCallback = EventLoopThread::ThreadInitCallback;
  using ThreadExitCallback = EventLoopThread::ThreadExitCallback;

  /// Errors: aborts if `baseLoop` is nullptr.
  explicit EventLoopThreadPool(EventLoop* baseLoop, std::string name = "loop");
  ~EventLoopThreadPool();

  /// Before start().
  /// Errors: throws std::invalid_argument if negative.
  void setThreadNum(int numThreads);

  /// Called on each of the pool's threads when its loop has ended, before the loop is destroyed.
  /// Not called for the base loop. Before start().
  void setThreadExitCallback(ThreadExitCallback callback);

  /// Starts the threads, one after the other. `init` runs in each with its loop, or once with the
  /// base loop if there are no threads.
  /// Errors: throws std::system_error if there are too few threads or descriptors, and what `init`
  /// throws. Then the threads that were started have ended, and start() may be called again. Once
  /// it has returned, a second start(), and all that is for before it, aborts with the name.
  void start(const ThreadInitCallback& init = {});
  [[nodiscard]] bool started() const { return started_; }

  /// Round-robin over the pool's loops; the base loop if there are none.
  [[nodiscard]] EventLoop* getNextLoop();

  /// The pool's loops; the base loop alone if there are none.
  [[nodiscard]] std::vector<EventLoop*> getAllLoops() const;

 private:
  EventLoop* const baseLoop_;
  const std::string name_;
  bool started_ = false;
  int numThreads_ = 0;
  ThreadExitCallback exit_;
  std::size_t next_ = 0;
  std::vector<std::unique_ptr<EventLoopThread>> threads_;
  std::vector<EventLoop*> loops_;
};

}  // namespace rung
