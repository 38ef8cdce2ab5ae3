#include "rung/base/CountDownLatch.h"

#include <algorithm>

namespace rung {

CountDownLatch::CountDownLatch(int count) : count_(std::max(count, 0)) {}

void CountDownLatch::wait() {
  const MutexLock lock(mutex_);
  while (count_ > 0)
    opened_.wait(mutex_);
}

bool CountDownLatch::waitUntil(std::chrono::steady_clock::time_point deadline) {
  const MutexLock lock(mutex_);
  while (count_ > 0) {
    if (!opened_.waitUntil(mutex_, deadline)) return count_ == 0;
  }
  return true;
}

void CountDownLatch::countDown() {
  const MutexLock lock(mutex_);
  if (count_ == 0) return;
  // Notified with the mutex held: a waiter that destroys the latch when it returns cannot do so
  // before this call has released it.
  if (--count_ == 0) opened_.notifyAll();
}

int CountDownLatch::count() const {
  const MutexLock lock(mutex_);
  return count_;
}

}  // namespace rung
