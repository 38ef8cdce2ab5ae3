#pragma once

#include <sys/types.h>

#include <atomic>
#include <functional>
#include <string>
#include <thread>

#include "rung/base/noncopyable.h"

namespace rung {

/// A std::thread with a name that debuggers show, and with the kernel's id known when start()
/// returns.
/// It begins with all signals blocked but those of faults (SIGSEGV, SIGBUS, SIGFPE, SIGILL,
/// SIGABRT, SIGTRAP, SIGSYS), so that a signal goes to a thread of the program's own, or to a
/// SignalFd that is made later. A function that wants others, SIGPROF for a profiler, calls
/// pthread_sigmask(3); with a pool, its thread init callback does. A program that the thread starts
/// inherits the mask.
/// Thread: one owner; tid() and name() any once start() has returned.
/// Lifetime: the destructor joins, so the function and all that it refers to must live until then.
/// If the thread itself destroys it, it detaches instead, since no thread can wait for itself.
/// Errors: an exception that leaves the function ends the process. The message names the thread.
/// Source: pthread_create(3), pthread_sigmask(3); muduo base/Thread.h.
class Thread : noncopyable {
 public:
  using Function = std::function<void()>;

  /// Without a name it is "thread-N", N counting all Threads of the process. See
  /// CurrentThread::setName() for a name that is too long.
  explicit Thread(Function function, std::string name = {});
  ~Thread();

  /// Returns when the new thread runs. Once only: the second time it aborts, with the name.
  /// Errors: throws std::system_error (EAGAIN) if the system gives no thread; may be called again.
  void start();
  /// Waits for the end of the function. Without a start() it returns at once; twice is fine.
  void join();

  [[nodiscard]] bool started() const { return started_; }
  /// 0 before start().
  [[nodiscard]] pid_t tid() const { return tid_.load(); }
  [[nodiscard]] const std::string& name() const { return name_; }
  /// How many Threads this process has made so far.
  [[nodiscard]] static int numCreated() { return numCreated_.load(); }

 private:
  static std::atomic<int> numCreated_;

  Function function_;
  std::string name_;
  bool started_ = false;
  std::atomic<pid_t> tid_{0};
  std::thread thread_;
};

}  // namespace rung
