// Locks and their relatives where the usual sentences about them are wrong.

#include <doctest/doctest.h>
#include <pthread.h>

#include <condition_variable>
#include <latch>
#include <memory>
#include <mutex>
#include <semaphore>
#include <vector>

#include "tests/facts/Kernel.h"
#include "tests/facts/Threads.h"

using namespace facts;

namespace {

bool freeForOthers(std::mutex& mutex) {
  bool got = false;
  std::thread([&] {
    got = mutex.try_lock();
    if (got) mutex.unlock();
  }).join();
  return got;
}

}  // namespace

TEST_CASE("lock: std::lock_guard(mutex) does not compile and two other slips do") {
  CHECK(LOCK_GUARD_OF_A_NAME_COMPILES == 0);  // tests/facts/meson.build tried
  std::mutex mutex;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#ifdef __clang__
#pragma GCC diagnostic ignored "-Wvexing-parse"
#else
#pragma GCC diagnostic ignored "-Wparentheses"
#endif
  {
    std::unique_lock<std::mutex>(mutex);  // declares an empty lock whose name is `mutex`
    CHECK_FALSE(mutex.owns_lock());
  }
#pragma GCC diagnostic pop
  {
    std::lock_guard{mutex};  // locks, and unlocks at the semicolon
    CHECK(freeForOthers(mutex));
  }
  {
    const std::lock_guard named{mutex};
    CHECK_FALSE(freeForOthers(mutex));
  }
}

#ifdef __GLIBC__
TEST_CASE("lock: glibc's default mutex does not spin and the adaptive one does") {
  if (std::thread::hardware_concurrency() < 2) {
    MESSAGE("skipped: on one processor no mutex spins");
    return;
  }
  // glibc keeps in the mutex how long waiters have spun so far.
  const auto spinsAfterOneWait = [](int kind) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, kind);
    pthread_mutex_t mutex;
    pthread_mutex_init(&mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
    pthread_mutex_lock(&mutex);
    {
      Watched waiter([&] {
        pthread_mutex_lock(&mutex);
        pthread_mutex_unlock(&mutex);
      });
      CHECK(waiter.fallsAsleep());
      pthread_mutex_unlock(&mutex);
    }
    const int spins = mutex.__data.__spins;
    pthread_mutex_destroy(&mutex);
    return spins;
  };
  CHECK(spinsAfterOneWait(PTHREAD_MUTEX_DEFAULT) == 0);
  CHECK(spinsAfterOneWait(PTHREAD_MUTEX_ADAPTIVE_NP) > 0);
}
#endif

TEST_CASE("lock: one release of a semaphore wakes as many as it is told") {
  constexpr int kThreads = 4;
  std::counting_semaphore<kThreads> semaphore(0);
  std::atomic<int> past{0};
  std::vector<std::unique_ptr<Watched>> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.push_back(std::make_unique<Watched>([&] {
      semaphore.acquire();
      ++past;
    }));
  }
  for (const auto& thread : threads)
    REQUIRE(thread->fallsAsleep());
  CHECK(past == 0);
  semaphore.release(kThreads);
  CHECK(eventually([&] { return past == kThreads; }));
}

TEST_CASE("lock: who is woken may find that another took what the notification was for") {
  std::mutex mutex;
  std::condition_variable condition;
  bool there = false, waiting = false, found = true;
  std::thread waiter([&] {
    std::unique_lock lock(mutex);
    waiting = true;
    condition.wait(lock);  // `if`, not `while`
    found = there;
  });
  // The mutex is free with `waiting` set only when the waiter is in its wait.
  REQUIRE(eventually([&] {
    const std::lock_guard lock(mutex);
    return waiting;
  }));
  {
    const std::lock_guard lock(mutex);
    there = true;
    condition.notify_one();
    there = false;  // a third thread that comes first takes it
  }
  waiter.join();
  CHECK_FALSE(found);
}

TEST_CASE("lock: a fact that changes without the mutex falls between the look and the sleep") {
  std::mutex mutex;
  std::condition_variable condition;
  std::atomic<bool> ready{false};
  std::latch hasLooked(1), changed(1);
  std::cv_status how{};
  std::thread waiter([&] {
    std::unique_lock lock(mutex);
    if (!ready) {
      hasLooked.count_down();
      changed.wait();  // the moment between the look and the sleep, held open
      how = condition.wait_for(lock, 50ms);
    }
  });
  hasLooked.wait();
  ready = true;  // atomic, and yet not under the mutex: it could not have got that now
  condition.notify_one();
  changed.count_down();
  waiter.join();
  CHECK(how == std::cv_status::timeout);  // it slept although it was ready
}

TEST_CASE("lock: condition_variable_any waits with any lock and also with a bare mutex") {
  std::mutex mutex;
  std::condition_variable_any condition;
  bool ready = false;
  mutex.lock();
  std::thread other([&] {
    const std::lock_guard lock(mutex);  // which it gets only when the wait has given it up
    ready = true;
    condition.notify_one();
  });
  condition.wait(mutex, [&] { return ready; });
  CHECK_FALSE(freeForOthers(mutex));
  mutex.unlock();
  other.join();
}
