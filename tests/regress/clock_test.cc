// muduo's condition waits ended early or late when the wall clock was set: they waited for a moment
// of CLOCK_REALTIME. Which clock a wait goes by shows in the call that is made, so that is looked
// at; see meson.build for how.

#include <doctest/doctest.h>
#include <pthread.h>
#include <time.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <type_traits>

#include "rung/base/CountDownLatch.h"
#include "rung/base/Mutex.h"

namespace {

std::atomic<int> monotonicWaits{0};
std::atomic<int> otherWaits{0};

}  // namespace

extern "C" {
int __real_pthread_cond_clockwait(pthread_cond_t* condition, pthread_mutex_t* mutex,
                                  clockid_t clock, const timespec* deadline);
int __real_pthread_cond_timedwait(pthread_cond_t* condition, pthread_mutex_t* mutex,
                                  const timespec* deadline);

int __wrap_pthread_cond_clockwait(pthread_cond_t* condition, pthread_mutex_t* mutex,
                                  clockid_t clock, const timespec* deadline);
int __wrap_pthread_cond_clockwait(pthread_cond_t* condition, pthread_mutex_t* mutex,
                                  clockid_t clock, const timespec* deadline) {
  ++(clock == CLOCK_MONOTONIC ? monotonicWaits : otherWaits);
  return __real_pthread_cond_clockwait(condition, mutex, clock, deadline);
}
int __wrap_pthread_cond_timedwait(pthread_cond_t* condition, pthread_mutex_t* mutex,
                                  const timespec* deadline);
int __wrap_pthread_cond_timedwait(pthread_cond_t* condition, pthread_mutex_t* mutex,
                                  const timespec* deadline) {
  ++otherWaits;
  return __real_pthread_cond_timedwait(condition, mutex, deadline);
}
}

namespace {

using namespace std::chrono_literals;

TEST_CASE("regress: waits with a deadline go by the monotonic clock") {
  rung::CountDownLatch latch(1);
  CHECK_FALSE(latch.waitUntil(std::chrono::steady_clock::now() + 1ms));
  rung::Mutex mutex;
  rung::Condition condition;
  {
    const rung::MutexLock lock(mutex);
    while (condition.waitUntil(mutex, std::chrono::steady_clock::now() + 1ms)) {
    }
  }
  CHECK(monotonicWaits >= 2);
  CHECK(otherWaits == 0);
}

TEST_CASE("regress: waits end where the clock ends, and neither overflow nor spin") {
  using Clock = std::chrono::steady_clock;
  rung::CountDownLatch latch(1);
  CHECK_FALSE(latch.waitUntil(Clock::time_point::min()));
  CHECK_FALSE(latch.waitUntil(Clock::time_point{}));
  const int before = monotonicWaits;
  std::jthread opener([&] {
    std::this_thread::sleep_for(20ms);  // not to synchronise: a wait that spins shows in the count
    latch.countDown();
  });
  CHECK(latch.waitUntil(Clock::time_point::max()));
  CHECK(monotonicWaits - before <= 3);
  rung::Mutex mutex;
  rung::Condition condition;
  const rung::MutexLock lock(mutex);
  CHECK_FALSE(condition.waitUntil(mutex, Clock::time_point::min()));
}

// And a deadline of the wall clock does not compile.
static_assert(!std::is_invocable_v<decltype(&rung::CountDownLatch::waitUntil), rung::CountDownLatch,
                                   std::chrono::system_clock::time_point>);

}  // namespace
