#include <doctest/doctest.h>

#include <atomic>
#include <functional>
#include <latch>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "rung/net/EventLoop.h"

#include "tests/support/ChildProcess.h"
#include "tests/support/Sockets.h"

using namespace std::chrono_literals;
using rung::Channel;
using rung::EventLoop;
using rung::PollerKind;
using rung::TimerId;
using rung::Timestamp;
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
// Each timer ends in exactly one of two ways, whatever the threads do.
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

}  // namespace
