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

class CountDownLatch;

/// Threads for computation. A loop's thread must never work for long, because all its connections
/// wait meanwhile; it hands the work to a pool, and the task hands the answer back with
/// EventLoop::runInLoop or TcpConnection::send.
/// Thread: any, but start() and the destructor belong to the owner.
/// Lifetime: the destructor stops the pool and runs the queued tasks; on a worker's own thread it
/// aborts, since it would wait for itself. See base/Thread.h for the signals that a worker takes.
/// Source: muduo base/ThreadPool.h.
class ThreadPool : noncopyable {
 public:
  using ExceptionCallback = std::function<void(std::exception_ptr)>;

  /// What stop() does with tasks that have not begun.
  enum class OnStop { runQueued, dropQueued };

  explicit ThreadPool(std::string name = "pool");
  ~ThreadPool();

  /// At most `tasks` wait at a time, besides those that run() queues beyond the bound; 0 means no
  /// bound. Before start().
  void setMaxQueueSize(std::size_t tasks);
  /// Called on each worker before its first task, and after its last one. Before start().
  /// Errors: start() throws what an init callback throws; an exception from an exit callback ends
  /// the process with a message that names the pool.
  void setThreadInitCallback(std::function<void()> callback) { init_ = std::move(callback); }
  void setThreadExitCallback(std::function<void()> callback) { exit_ = std::move(callback); }
  /// Called on the worker whose task threw. Without one the exception is logged, with the name of
  /// the pool. Either way the worker goes on. Before start().
  void setExceptionCallback(ExceptionCallback callback) { onException_ = std::move(callback); }

  /// Returns when all workers have been initialised. With 0 threads run() works inline: it calls
  /// the task, which then calls any that it runs itself.
  /// Errors: throws std::invalid_argument if negative; std::system_error if the system gives too
  /// few threads; what an init callback throws. Then the threads that began have ended, what was
  /// queued has been run by them or waits, and start() may be called again. Aborts if the pool runs
  /// already, or after stop().
  void start(int numThreads) RUNG_EXCLUDES(threadsMutex_, mutex_);

  /// Takes no more tasks, runs or drops those that wait, and joins the workers. Two threads may
  /// stop the pool at once: both return when it is done. Twice is fine. On a worker it aborts.
  /// Returns how many tasks were dropped; without a start(), that is all that wait.
  std::size_t stop(OnStop what = OnStop::runQueued) RUNG_EXCLUDES(threadsMutex_, mutex_);

  /// Queues `task`; waits while the queue is full. Before start() tasks wait for it.
  /// A worker does not wait, since it would wait for itself, nor does a caller before start():
  /// their tasks are queued beyond the bound. If each task runs one successor, the queue is above
  /// its bound by one task per worker at most; a task that runs many adds as many.
  /// Errors: returns false once stopped; the task is then destroyed and not run. Aborts if `task`
  /// is empty. Each abort names the pool.
  bool run(Task task) RUNG_EXCLUDES(mutex_);

  /// As run(), but returns false at once if the queue is full or there are no workers, so that an
  /// I/O thread can say "busy". `task` is moved from only if it was taken.
  [[nodiscard]] bool tryRun(Task&& task) RUNG_EXCLUDES(mutex_);

  /// How many tasks wait.
  [[nodiscard]] std::size_t queueSize() const RUNG_EXCLUDES(mutex_);

 private:
  enum class State { idle, running, stopping };

  [[nodiscard]] bool full() const RUNG_REQUIRES(mutex_);
  [[nodiscard]] bool onWorker() const;
  void refuseEmpty(const Task& task) const;
  void queue(Task&& task) RUNG_REQUIRES(mutex_);
  void startThreads(int numThreads) RUNG_EXCLUDES(threadsMutex_, mutex_);
  void work(CountDownLatch& initialised);
  Task takeTask() RUNG_EXCLUDES(mutex_);
  void runTask(Task& task);

  const std::string name_;
  std::function<void()> init_;
  std::function<void()> exit_;
  ExceptionCallback onException_;

  // Held while threads are made or joined. If two threads stop the pool, one waits for the other.
  Mutex threadsMutex_;
  std::vector<std::unique_ptr<Thread>> threads_ RUNG_GUARDED_BY(threadsMutex_);

  mutable Mutex mutex_;
  Condition notEmpty_;
  Condition notFull_;
  std::deque<Task> tasks_ RUNG_GUARDED_BY(mutex_);
  std::size_t maxQueueSize_ RUNG_GUARDED_BY(mutex_) = 0;
  bool inline_ RUNG_GUARDED_BY(mutex_) = false;  // running, with 0 threads
  State state_ RUNG_GUARDED_BY(mutex_) = State::idle;
  std::exception_ptr initFailure_ RUNG_GUARDED_BY(mutex_);
};

}  // namespace rung
