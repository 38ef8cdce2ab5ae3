#include <doctest/doctest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "rung/base/CountDownLatch.h"

using namespace std::chrono_literals;
using rung::CountDownLatch;

namespace {

TEST_CASE("CountDownLatch: opens when the count is reached, for all who wait") {
  CountDownLatch latch(3);
  std::atomic<int> through{0};
  std::vector<std::thread> waiters;
  for (int i = 0; i < 4; ++i) {
    waiters.emplace_back([&] {
      latch.wait();
      ++through;
    });
  }
  latch.countDown();
  latch.countDown();
  CHECK(latch.count() == 1);
  CHECK(through == 0);
  latch.countDown();
  for (std::thread& waiter : waiters)
    waiter.join();
  CHECK(through == 4);
}

// A semaphore lets through as many as were posted; a latch stays open.
TEST_CASE("CountDownLatch: stays open for those who come later") {
  CountDownLatch latch(1);
  latch.countDown();
  latch.wait();
  latch.wait();
  CHECK(latch.count() == 0);
}

TEST_CASE("CountDownLatch: a count of 0 or less is open from the start") {
  CountDownLatch zero(0);
  zero.wait();
  CountDownLatch negative(-5);
  negative.wait();
  CHECK(negative.count() == 0);
}

TEST_CASE("CountDownLatch: counting beyond the end does nothing") {
  CountDownLatch latch(1);
  latch.countDown();
  latch.countDown();
  CHECK(latch.count() == 0);
}

TEST_CASE("CountDownLatch: waitUntil tells whether it opened") {
  CountDownLatch latch(1);
  CHECK_FALSE(latch.waitUntil(std::chrono::steady_clock::now() + 10ms));
  latch.countDown();
  CHECK(latch.waitUntil(std::chrono::steady_clock::now() - 1h));
}

TEST_CASE("CountDownLatch: the waiter may destroy it as soon as wait returns") {
  for (int i = 0; i < 500; ++i) {
    auto latch = std::make_unique<CountDownLatch>(1);
    std::thread other([raw = latch.get()] { raw->countDown(); });
    latch->wait();
    latch.reset();
    other.join();
  }
}

}  // namespace
