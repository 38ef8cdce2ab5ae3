#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "rung/base/noncopyable.h"

// Annotations for clang's -Wthread-safety, which proves at compile time that a member marked
// RUNG_GUARDED_BY is used only while its mutex is held. Other compilers ignore them.
// Source: clang.llvm.org/docs/ThreadSafetyAnalysis.html
#if defined(__clang__)
#define RUNG_THREAD_ATTRIBUTE(x) __attribute__((x))
#else
#define RUNG_THREAD_ATTRIBUTE(x)
#endif

#define RUNG_CAPABILITY(x) RUNG_THREAD_ATTRIBUTE(capability(x))
#define RUNG_SCOPED_CAPABILITY RUNG_THREAD_ATTRIBUTE(scoped_lockable)
#define RUNG_GUARDED_BY(x) RUNG_THREAD_ATTRIBUTE(guarded_by(x))
#define RUNG_REQUIRES(...) RUNG_THREAD_ATTRIBUTE(requires_capability(__VA_ARGS__))
#define RUNG_EXCLUDES(...) RUNG_THREAD_ATTRIBUTE(locks_excluded(__VA_ARGS__))
#define RUNG_ACQUIRE(...) RUNG_THREAD_ATTRIBUTE(acquire_capability(__VA_ARGS__))
#define RUNG_RELEASE(...) RUNG_THREAD_ATTRIBUTE(release_capability(__VA_ARGS__))

namespace rung {

/// A std::mutex with annotations, which that of libstdc++ does not have.
/// Thread: any. Take it with MutexLock.
class RUNG_CAPABILITY("mutex") Mutex : noncopyable {
 public:
  void lock() RUNG_ACQUIRE() { mutex_.lock(); }
  void unlock() RUNG_RELEASE() { mutex_.unlock(); }

 private:
  friend class Condition;
  std::mutex mutex_;
};

/// Holds a Mutex for the length of a scope.
class RUNG_SCOPED_CAPABILITY MutexLock : noncopyable {
 public:
  explicit MutexLock(Mutex& mutex) RUNG_ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~MutexLock() RUNG_RELEASE() { mutex_.unlock(); }

 private:
  Mutex& mutex_;
};

/// A condition variable for a Mutex. A wait may also end without a notification, so always wait in
/// a loop that tests the condition.
/// Thread: any. The caller of a wait holds the mutex, and holds it again when the wait returns.
class Condition : noncopyable {
 public:
  void wait(Mutex& mutex) RUNG_REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    condition_.wait(lock);
    (void)lock.release();  // the caller's MutexLock unlocks it
  }

  /// Returns false once `deadline` has passed. A wall clock that is set does not change that.
  bool waitUntil(Mutex& mutex, std::chrono::steady_clock::time_point deadline)
      RUNG_REQUIRES(mutex) {
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
