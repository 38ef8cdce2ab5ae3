#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "rung/base/noncopyable.h"

// Annotations for clang's -Wthread-safety, which proves at compile time that what is GUARDED_BY a
// mutex is touched only with it held. Other compilers see nothing.
// Source: clang.llvm.org/docs/ThreadSafetyAnalysis.html
#if defined(__clang__)
#define RUNG_THREAD_ATTRIBUTE(x) __attribute__((x))
#else
#define RUNG_THREAD_ATTRIBUTE(x)
#endif

#define CAPABILITY(x) RUNG_THREAD_ATTRIBUTE(capability(x))
#define SCOPED_CAPABILITY RUNG_THREAD_ATTRIBUTE(scoped_lockable)
#define GUARDED_BY(x) RUNG_THREAD_ATTRIBUTE(guarded_by(x))
#define REQUIRES(...) RUNG_THREAD_ATTRIBUTE(requires_capability(__VA_ARGS__))
#define EXCLUDES(...) RUNG_THREAD_ATTRIBUTE(locks_excluded(__VA_ARGS__))
#define ACQUIRE(...) RUNG_THREAD_ATTRIBUTE(acquire_capability(__VA_ARGS__))
#define RELEASE(...) RUNG_THREAD_ATTRIBUTE(release_capability(__VA_ARGS__))

namespace rung {

/// std::mutex with the annotations that libstdc++'s does not carry.
/// Thread: any. Take it with MutexLock.
class CAPABILITY("mutex") Mutex : noncopyable {
 public:
  void lock() ACQUIRE() { mutex_.lock(); }
  void unlock() RELEASE() { mutex_.unlock(); }

 private:
  friend class Condition;
  std::mutex mutex_;
};

/// Holds a Mutex for the length of a scope.
class SCOPED_CAPABILITY MutexLock : noncopyable {
 public:
  explicit MutexLock(Mutex& mutex) ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~MutexLock() RELEASE() { mutex_.unlock(); }

 private:
  Mutex& mutex_;
};

/// A condition variable for a Mutex. Waits end without cause too, so always wait in a loop that
/// tests what is waited for.
/// Thread: any; the waits need the mutex held, and hold it again when they return.
class Condition : noncopyable {
 public:
  void wait(Mutex& mutex) REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    condition_.wait(lock);
    (void)lock.release();  // the caller's MutexLock unlocks it
  }

  /// Returns false once `deadline` has passed. A wall clock that is set does not change that.
  bool waitUntil(Mutex& mutex, std::chrono::steady_clock::time_point deadline) REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    const std::cv_status status = condition_.wait_until(lock, deadline);
    (void)lock.release();
    return status == std::cv_status::no_timeout;
  }

  void notifyOne() { condition_.notify_one(); }
  void notifyAll() { condition_.notify_all(); }

 private:
  std::condition_variable condition_;
};

}  // namespace rung
