#pragma once

#include "rung/base/Mutex.h"
#include "rung/base/noncopyable.h"

namespace rung {

/// Lets threads wait until a number of things has happened elsewhere. It opens once, for all calls
/// of wait() before and after. A semaphore is different: it lets through as many as were posted.
/// std::latch is the same idea; this class shows how it works.
/// Thread: any.
/// Lifetime: must outlive the last wait() and countDown() that run on it.
class CountDownLatch : noncopyable {
 public:
  /// Opens after `count` calls of countDown(); at once if `count` is 0 or less.
  explicit CountDownLatch(int count);

  void wait() RUNG_EXCLUDES(mutex_);
  /// Returns false if the latch is still closed at `deadline`.
  [[nodiscard]] bool waitUntil(std::chrono::steady_clock::time_point deadline)
      RUNG_EXCLUDES(mutex_);
  /// Calls beyond the count do nothing.
  void countDown() RUNG_EXCLUDES(mutex_);
  [[nodiscard]] int count() const RUNG_EXCLUDES(mutex_);

 private:
  mutable Mutex mutex_;
  Condition opened_;
  int count_ RUNG_GUARDED_BY(mutex_);
};

}  // namespace rung
