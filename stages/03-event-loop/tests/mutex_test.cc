#include "rung/base/Mutex.h"

#include <doctest/doctest.h>

#include <thread>
#include <vector>

using namespace std::chrono_literals;
using rung::Condition;
using rung::Mutex;
using rung::MutexLock;

namespace {

struct Counter {
  Mutex mutex;
  Condition changed;
  int value RUNG_GUARDED_BY(mutex) = 0;
};

TEST_CASE("Mutex: only one thread at a time is inside") {
  Counter counter;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 10'000; ++i) {
        const MutexLock lock(counter.mutex);
        ++counter.value;
      }
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  const MutexLock lock(counter.mutex);
  CHECK(counter.value == 40'000);
}

TEST_CASE("Condition: wait gives the mutex up while it waits, and holds it afterwards") {
  Counter counter;
  std::thread waiter([&] {
    const MutexLock lock(counter.mutex);
    while (counter.value == 0)
      counter.changed.wait(counter.mutex);
    ++counter.value;
  });
  {
    const MutexLock lock(counter.mutex);  // would hang here if the waiter kept it
    counter.value = 1;
  }
  counter.changed.notifyOne();
  waiter.join();
  const MutexLock lock(counter.mutex);
  CHECK(counter.value == 2);
}

TEST_CASE("Condition: notifyAll wakes all") {
  Counter counter;
  std::vector<std::thread> waiters;
  for (int i = 0; i < 4; ++i) {
    waiters.emplace_back([&] {
      const MutexLock lock(counter.mutex);
      while (counter.value == 0)
        counter.changed.wait(counter.mutex);
    });
  }
  {
    const MutexLock lock(counter.mutex);
    counter.value = 1;
  }
  counter.changed.notifyAll();
  for (std::thread& waiter : waiters)
    waiter.join();
}

TEST_CASE("Condition: waitUntil ends at the deadline, and not before") {
  Counter counter;
  const auto deadline = std::chrono::steady_clock::now() + 20ms;
  const MutexLock lock(counter.mutex);
  while (counter.changed.waitUntil(counter.mutex, deadline)) {
  }
  CHECK(std::chrono::steady_clock::now() >= deadline);
}

}  // namespace
