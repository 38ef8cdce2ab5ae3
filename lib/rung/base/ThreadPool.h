#pragma once

#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "rung/base/Mutex.h"
#include "rung/base/Task.h"
#include "rung/base/Thread.h"
#include "rung/base/noncopyable.h"

namespace rung {

/// Threads for computation. A loop's thread must never work for long, because all its connections
/// wait meanwhile; it hands the work to a pool, and the task hands the answer back with
/// EventLoop::runInLoop or TcpConnection::send.
/// Thread: any, but start() and the destructor belong to the owner.
/// Lifetime: the destructor stops the pool and runs what is queued; on a worker's own thread that
/// would wait for itself, and aborts.
/// Source: muduo base/ThreadPool.h.
class ThreadPool : noncopyable {
 public:
  using ExceptionCallback = std::function<void(std::exception_ptr)>;

  /// What stop() does with tasks that have not begun.
  enum class OnStop { runQueued, dropQueued };

  explicit ThreadPool(std::string name = "pool");
  ~ThreadPool();

  /// At most `tasks` wait at a time; 0 means no bound. Before start().
  void setMaxQueueSize(std::size_t tasks);
  /// Called on each worker before its first task. Before start().
  void setThreadInitCallback(std::function<void()> callback) { init_ = std::move(callback); }
  /// Called on the worker whose task threw. Without one the exception is logged. Either way the
  /// worker goes on. Before start().
  void setExceptionCallback(ExceptionCallback callback) { onException_ = std::move(callback); }

  /// With 0 threads run() works inline.
  /// Errors: throws std::system_error if the system gives too few threads; those that began are
  /// stopped again.
  void start(int numThreads);

  /// Takes no more tasks, deals with those that wait, and joins. Twice is fine. Not from a worker.
  /// Returns how many tasks were dropped.
  std::size_t stop(OnStop what = OnStop::runQueued) EXCLUDES(mutex_);

  /// Queues `task`; waits while the queue is full. A worker that finds its own queue full runs the
  /// task itself, because waiting for itself it would wait for ever.
  /// Errors: false once stopped, with the task destroyed and not run.
  bool run(Task task) EXCLUDES(mutex_);

  /// As run(), but returns false at once if the queue is full, so that an I/O thread can say
  /// "busy". `task` is moved from only if it was taken.
  [[nodiscard]] bool tryRun(Task&& task) EXCLUDES(mutex_);

  /// How many tasks wait.
  [[nodiscard]] std::size_t queueSize() const EXCLUDES(mutex_);

 private:
  enum class State { idle, running, stopping };

  [[nodiscard]] bool hasWorkers() const REQUIRES(mutex_) { return numThreads_ > 0; }
  [[nodiscard]] bool full() const REQUIRES(mutex_);
  [[nodiscard]] bool onWorker() const;
  void work();
  Task takeTask() EXCLUDES(mutex_);
  void runGuarded(Task& task);

  const std::string name_;
  std::function<void()> init_;
  ExceptionCallback onException_;
  std::vector<std::unique_ptr<Thread>> threads_;  // the owner's alone

  mutable Mutex mutex_;
  Condition notEmpty_;
  Condition notFull_;
  std::deque<Task> tasks_ GUARDED_BY(mutex_);
  std::size_t maxQueueSize_ GUARDED_BY(mutex_) = 0;
  int numThreads_ GUARDED_BY(mutex_) = 0;
  State state_ GUARDED_BY(mutex_) = State::idle;
};

}  // namespace rung
