#include <doctest/doctest.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <latch>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "rung/net/EventLoop.h"

#include "tests/support/ChildProcess.h"
#include "tests/support/LimitMemory.h"
#include "tests/support/Sockets.h"

using namespace std::chrono_literals;
using rung::Channel;
using rung::EventLoop;
using rung::PollerKind;
using rung::TimerId;
using rung::Timestamp;
using rung::testing::limitMemory;
using rung::testing::put;
using rung::testing::runInChild;
using rung::testing::SocketPair;
using rung::testing::take;

namespace {

using Clock = std::chrono::steady_clock;

TEST_CASE("EventLoop: timers run in the order of their deadlines, none too early") {
  for (PollerKind kind : {PollerKind::epoll, PollerKind::poll}) {
    EventLoop loop(kind);
    std::string order;
    const Clock::time_point start = Clock::now();
    const auto append = [&](char c, Clock::duration delay) {
      return [&, c, delay] {
        order += Clock::now() - start < delay ? '!' : c;
        if (c == 'd') loop.quit();
      };
    };
    loop.runAt(start + 9ms, append('d', 9ms));
    loop.runAt(start + 6ms, append('c', 6ms));
    loop.runAt(start + 3ms, append('a', 3ms));
    loop.runAt(start + 3ms, append('b', 3ms));
    loop.loop();
    CHECK(order == "abcd");
  }
}

TEST_CASE("EventLoop: a timer that is due already runs in the next round, not inline") {
  EventLoop loop;
  std::uint64_t added = 0;
  std::uint64_t ran = 0;
  loop.queueInLoop([&] {
    added = loop.iteration();
    loop.runAt(Clock::now() - 1h, [&] {
      ran = loop.iteration();
      loop.quit();
    });
    CHECK(ran == 0);
  });
  loop.loop();
  CHECK(ran == added + 1);
}

TEST_CASE("EventLoop: I/O goes on while a timer keeps adding one that is due") {
  EventLoop loop;
  SocketPair pair;
  Channel channel(&loop, pair.ours.get());
  int runs = 0;
  int reads = 0;
  std::function<void()> again = [&] {
    ++runs;
    put(pair.theirs, "x");
    loop.runAfter(-1s, again);
  };
  channel.setReadCallback([&](Timestamp) {
    take(channel.fd(), 1);  // there is one byte a round to read
    if (++reads == 100) loop.quit();
  });
  channel.enableReading();
  loop.runAfter(0s, again);
  loop.loop();
  CHECK(reads == 100);
  CHECK(runs <= 102);
  channel.remove();
}

TEST_CASE("EventLoop: runEvery goes on until it is cancelled, by itself here") {
  EventLoop loop;
  int runs = 0;
  TimerId id;
  const Clock::time_point start = Clock::now();
  id = loop.runEvery(2ms, [&] {
    ++runs;
    CHECK(Clock::now() - start >= runs * 2ms);
    if (runs < 4) return;
    CHECK(loop.cancel(id));
    loop.runAfter(5ms, [&] { loop.quit(); });
  });
  loop.loop();
  CHECK(runs == 4);
}

TEST_CASE("EventLoop: runEvery refuses an interval that is not positive") {
  EventLoop loop;
  CHECK_THROWS_AS(loop.runEvery(0s, [] {}), std::invalid_argument);
  CHECK_THROWS_AS(loop.runEvery(-1s, [] {}), std::invalid_argument);
  CHECK_THROWS_AS(loop.runEvery(std::chrono::hours::min(), [] {}), std::invalid_argument);
  CHECK_THROWS_AS(loop.runEvery(std::chrono::duration<double>(1e-12), [] {}),
                  std::invalid_argument);
}

// A thousand years became a negative number of nanoseconds on the way into the call, and the timer
// ran at once; runEvery() said that it was not positive.
TEST_CASE(
    "EventLoop: a time that the clock cannot hold never comes, in whatever unit it is given") {
  using Years = std::chrono::duration<int, std::ratio<86'400 * 365>>;
  using Seconds = std::chrono::duration<double>;
  EventLoop loop;
  int tooEarly = 0;
  const auto task = [&] { ++tooEarly; };
  std::vector<TimerId> ids;
  const auto addAll = [&](auto... durations) {
    (ids.push_back(loop.runAfter(durations, task)), ...);
    (ids.push_back(loop.runEvery(durations, task)), ...);
    (ids.push_back(
         loop.runAt(std::chrono::time_point<Clock, decltype(durations)>(durations), task)),
     ...);
  };
  addAll(std::chrono::hours(24 * 365 * 1000), Years(1000), Seconds(1e30), Clock::duration::max(),
         std::chrono::milliseconds::max(), std::chrono::hours::max());
  ids.push_back(loop.runAfter(Seconds(NAN), task));
  bool belowRange = false;
  loop.runAfter(-Years(1000), [&] { belowRange = true; });
  loop.runAfter(1ms, [&] { loop.quit(); });
  loop.loop();
  CHECK(belowRange);
  CHECK(tooEarly == 0);
  for (const TimerId id : ids)
    CHECK(loop.cancel(id));
}

TEST_CASE("EventLoop: a timer outlasts a loop() that ends before it is due") {
  EventLoop loop;
  bool ran = false;
  loop.runAfter(2ms, [&] { ran = true, loop.quit(); });
  loop.quit();
  loop.loop();
  CHECK_FALSE(ran);
  loop.loop();
  CHECK(ran);
}

// Both timers had the first slot and the first serial number of their loops.
TEST_CASE("EventLoop: an id of one loop cancels no timer of another") {
  EventLoop here;
  TimerId there;
  std::thread([&] {
    EventLoop other;
    there = other.runAfter(1h, [] {});
  }).join();
  bool ran = false;
  const TimerId id = here.runAfter(1ms, [&] { ran = true, here.quit(); });
  CHECK(id != there);
  REQUIRE_FALSE(here.cancel(there));
  here.loop();
  CHECK(ran);
}

TEST_CASE("EventLoop: a socket's callback cancels a timer that is due in the same round") {
  EventLoop loop;
  SocketPair pair;
  Channel channel(&loop, pair.ours.get());
  bool ran = false;
  TimerId id;
  channel.setReadCallback([&](Timestamp) {
    take(channel.fd());
    // Due since before this round began. It has either run by now, or never will.
    const bool cancelled = loop.cancel(id);
    CHECK(cancelled == !ran);
    ran = false;
    loop.runAfter(2ms, [&] { loop.quit(); });
  });
  channel.enableReading();
  put(pair.theirs, "x");
  id = loop.runAfter(-1s, [&] { ran = true; });
  loop.loop();
  CHECK_FALSE(ran);
  channel.remove();
}

// The id is good at once: it does not have to be carried to the loop and back first.
// Each timer ends in exactly one of two ways, for any order of the threads.
TEST_CASE("EventLoop: timers that are left over are destroyed with the loop, and do not run") {
  auto witness = std::make_shared<int>(0);
  {
    EventLoop loop;
    for (int i = 0; i < 100; ++i) {
      loop.runAfter(-1s, [witness] { ++*witness; });
      loop.runEvery(1h, [witness] { ++*witness; });
    }
    CHECK(witness.use_count() == 201);
  }
  CHECK(witness.use_count() == 1);
  CHECK(*witness == 0);
}

// An object in a callback that cleans up after itself does not know that the loop is going.
TEST_CASE("EventLoop: what a left-over timer owns may use the timers while the loop goes") {
  int destroyed = 0;
  {
    TimerId other;  // before the loop, whose destructor still uses it
    EventLoop loop;
    other = loop.runAfter(1h, [] {});
    const std::shared_ptr<void> owner(nullptr, [&](void*) {
      ++destroyed;
      loop.cancel(other);
      loop.runAfter(1s, [] {});
      loop.queueInLoop([] {});
    });
    loop.runAfter(1h, [owner] {});
    loop.queueInLoop([owner] {});
  }
  CHECK(destroyed == 1);
}

TEST_CASE("EventLoop: an exception from a timer's callback ends the process") {
  const auto child = runInChild([] {
    EventLoop loop;
    loop.runAfter(0s, [] { throw std::runtime_error("timer failed"); });
    loop.loop();
  });
  CHECK(child.aborted());
  CHECK(child.says("timer failed"));
}

// The batch of those that are due is a vector. When there was no memory for it the process ended.
TEST_CASE("EventLoop: timers for whose batch there is no memory run all the same") {
  if (std::getenv("RUNG_SANITIZED") != nullptr) {
    MESSAGE("skipped: the sanitizer's own memory would count");
    return;
  }
  const auto child = runInChild([] {
    constexpr int kTimers = 300'000;
    EventLoop loop;
    int ran = 0;
    bool inOrder = true;
    for (int i = 0; i < kTimers; ++i) {
      loop.runAfter(0s, [&, i] {
        inOrder = inOrder && ran == i;
        if (++ran == kTimers) loop.quit();
      });
    }
    if (!limitMemory(0)) _exit(1);
    loop.loop();
    _exit(inOrder ? 7 : 2);
  });
  CHECK_MESSAGE(child.exitedWith(7), child.status << " " << child.output);
}

}  // namespace
