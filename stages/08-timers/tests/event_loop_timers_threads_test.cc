#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <latch>
#include <memory>
#include <thread>
#include <vector>

#include "rung/net/EventLoop.h"

using namespace std::chrono_literals;
using rung::EventLoop;
using rung::TimerId;

namespace {

/// A loop on a thread of its own, for the tests of what other threads may do.
class LoopThread {
 public:
  LoopThread()
      : thread_([this] {
          EventLoop loop;
          loop_ = &loop;
          started_.count_down();
          loop.loop();
        }) {
    started_.wait();
  }
  ~LoopThread() {
    loop_->quit();
    thread_.join();
  }
  EventLoop* operator->() { return loop_; }

 private:
  std::latch started_{1};
  EventLoop* loop_ = nullptr;
  std::thread thread_;
};

TEST_CASE("EventLoop: a timer from another thread wakes a loop that sleeps for longer") {
  LoopThread loop;
  std::latch asleep(1);
  loop->runInLoop([&] {
    loop->runAfter(1h, [] {});
    asleep.count_down();
  });
  asleep.wait();
  std::latch done(1);
  bool onLoop = false;
  loop->runAfter(1ms, [&] {
    onLoop = loop->isInLoopThread();
    done.count_down();
  });
  done.wait();  // would hang
  CHECK(onLoop);
}

TEST_CASE("EventLoop: the loop cancels what another thread has just added, before it runs") {
  EventLoop loop;
  bool ran = false;
  loop.queueInLoop([&] {
    TimerId id;
    std::thread([&] { id = loop.runAfter(-1s, [&] { ran = true; }); }).join();
    CHECK(loop.cancel(id));
    loop.runAfter(2ms, [&] { loop.quit(); });
  });
  loop.loop();
  CHECK_FALSE(ran);
}

TEST_CASE("EventLoop: another thread cancels what it has just added, while the loop is busy") {
  LoopThread loop;
  std::latch busy(1);
  std::latch cancelled(1);
  std::latch done(1);
  std::atomic<bool> ran{false};
  loop->queueInLoop([&] {
    busy.count_down();
    cancelled.wait();
  });
  busy.wait();
  const TimerId id = loop->runAfter(0s, [&] { ran = true; });
  CHECK(loop->cancel(id));
  CHECK_FALSE(loop->cancel(id));
  loop->runAfter(0s, [&] { done.count_down(); });
  cancelled.count_down();
  done.wait();
  CHECK_FALSE(ran);
}

TEST_CASE("EventLoop: four threads add and cancel; each timer runs once or was cancelled once") {
  constexpr std::size_t kThreads = 4;
  constexpr std::size_t kTimers = 5000;
  LoopThread loop;
  std::vector<std::atomic<int>> endings(kThreads * kTimers);
  std::latch done(std::ptrdiff_t{kThreads * kTimers});
  const auto addAndCancel = [&](std::size_t first) {
    std::vector<TimerId> ids(kTimers);
    for (std::size_t i = 0; i < kTimers; ++i) {
      ids[i] = loop->runAfter(std::chrono::microseconds(i % 500), [&, which = first + i] {
        ++endings[which];
        done.count_down();
      });
      // Every other time, one from some time ago.
      if (i % 2 == 0 && loop->cancel(ids[i / 2])) {
        ++endings[first + i / 2];
        done.count_down();
      }
    }
  };
  std::vector<std::thread> threads(kThreads);
  for (std::size_t t = 0; t < kThreads; ++t) {
    threads[t] = std::thread(addAndCancel, t * kTimers);
  }
  for (std::thread& thread : threads)
    thread.join();
  done.wait();
  CHECK(std::all_of(endings.begin(), endings.end(), [](auto& ending) { return ending == 1; }));
}

TEST_CASE("EventLoop: a repeating timer cancelled from another thread comes to its end") {
  LoopThread loop;
  std::atomic<int> runs{0};
  std::latch thrice(3);
  const TimerId id = loop->runEvery(1ms, [&] {
    if (++runs <= 3) thrice.count_down();
  });
  thrice.wait();
  CHECK(loop->cancel(id));
  // A run may have been under way; after this task there is none any more.
  std::latch past(1);
  loop->queueInLoop([&] { past.count_down(); });
  past.wait();
  const int before = runs;
  std::latch later(1);
  loop->runAfter(5ms, [&] { later.count_down(); });
  later.wait();
  CHECK(runs == before);
}

TEST_CASE("EventLoop: a loop destroyed on another thread takes its timers with it") {
  auto witness = std::make_shared<int>(0);
  std::unique_ptr<EventLoop> loop;
  std::thread([&] {
    loop = std::make_unique<EventLoop>();
    loop->runAfter(0s, [witness] { ++*witness; });
  }).join();
  loop.reset();
  CHECK(witness.use_count() == 1);
  CHECK(*witness == 0);
}

}  // namespace
