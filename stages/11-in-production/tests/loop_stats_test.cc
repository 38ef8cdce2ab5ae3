// What a loop counts, and what it says of callbacks that take too long.

#include <doctest/doctest.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>

#include "rung/base/Logging.h"
#include "rung/net/Channel.h"
#include "rung/net/EventLoop.h"
#include "rung/net/LoopWatch.h"

#include "tests/support/ChildProcess.h"
#include "tests/support/LogTrap.h"
#include "tests/support/Sockets.h"

using rung::CallbackKind;
using rung::EventLoop;
using rung::LoopStats;
using rung::testing::LogTrap;
using rung::testing::runInChild;
using rung::testing::SocketPair;

using namespace std::chrono_literals;

namespace {

/// Takes that long, and no test depends on how much longer.
void spend(std::chrono::milliseconds time) {
  std::this_thread::sleep_for(time);
}

TEST_CASE("EventLoop stats: rounds, tasks that have run, and those that wait") {
  EventLoop loop;
  loop.queueInLoop([] {});
  loop.queueInLoop([&] { loop.queueInLoop([] {}); });
  CHECK(loop.stats().tasksWaiting == 2);
  CHECK(loop.runOnce(0ms));
  const LoopStats stats = loop.stats();
  CHECK(stats.rounds == 1);
  CHECK(stats.tasksRun == 2);
  CHECK(stats.tasksWaiting == 1);
  CHECK(stats.busy == 0ns);  // not watched
  CHECK(stats.longestRound == 0ns);
}

TEST_CASE("EventLoop stats: on any thread, while the loop runs") {
  EventLoop loop;
  loop.watchSlowCallbacks(1h);
  std::thread reader([&] {
    std::uint64_t before = 0;
    for (LoopStats stats; stats.tasksRun < 1000; stats = loop.stats()) {
      if (stats.rounds < before) FAIL_CHECK("a count went down");
      before = stats.rounds;
      loop.queueInLoop([] {});
    }
    loop.quit();
  });
  loop.loop();
  reader.join();
}

TEST_CASE(
    "EventLoop watch: slow callbacks by their kind; the first one in the log, with all of it") {
  LogTrap log;
  EventLoop loop;
  loop.watchSlowCallbacks(20ms);
  SocketPair readers;
  rung::Channel reader(&loop, readers.ours.get());
  reader.setReadCallback([&](rung::Timestamp) {
    spend(20ms);
    reader.disableReading();
  });
  reader.enableReading();
  REQUIRE(::send(readers.theirs.get(), "x", 1, 0) == 1);
  CHECK(loop.runOnce(10s));
  CHECK(loop.stats().slowOf(CallbackKind::read) == 1);
  const std::string first = LogTrap::take();
  CHECK(first.find(" WARN ") != first.npos);
  CHECK(first.find("read") != first.npos);
  CHECK(first.find("fd " + std::to_string(reader.fd())) != first.npos);
  CHECK(first.find(" ms") != first.npos);

  reader.setWriteCallback([&] {
    spend(20ms);
    reader.disableWriting();
  });
  reader.enableWriting();
  CHECK(loop.runOnce(10s));
  CHECK(loop.stats().slowOf(CallbackKind::write) == 1);
  reader.setCloseCallback([&] {
    spend(20ms);
    reader.disableAll();
  });
  reader.pauseReading();
  readers.theirs.reset();
  CHECK(loop.runOnce(10s));
  CHECK(loop.stats().slowOf(CallbackKind::close) == 1);
  loop.runAfter(0ms, [] { spend(20ms); });
  CHECK(loop.runOnce(10s));
  CHECK(loop.stats().slowOf(CallbackKind::timer) == 1);
  loop.queueInLoop([] { spend(20ms); });
  loop.queueInLoop([] {});
  CHECK(loop.runOnce(10s));
  CHECK(loop.stats().slowOf(CallbackKind::task) == 1);
  reader.remove();

  const LoopStats stats = loop.stats();
  CHECK(stats.busy >= 100ms);
  CHECK(stats.longestRound >= 20ms);
  CHECK(stats.longestRound < stats.busy);
}

TEST_CASE("EventLoop watch: a thousand slow callbacks are a line a second, and counted") {
  LogTrap log;
  EventLoop loop;
  const auto begin = std::chrono::steady_clock::now();
  loop.watchSlowCallbacks(1ns);
  for (int i = 0; i < 1000; ++i)
    loop.queueInLoop([] {});
  CHECK(loop.runOnce(0ms));
  const auto seconds = (std::chrono::steady_clock::now() - begin) / 1s + 1;
  CHECK(loop.stats().slowOf(CallbackKind::task) == 1000);
  const std::string text = LogTrap::take();
  CHECK(std::count(text.begin(), text.end(), '\n') <= seconds);
}

// A maximum that is never forgotten soon says nothing more.
TEST_CASE("EventLoop watch: the longest round is that of this minute and of the one before") {
  static rung::LoopWatch::Clock::time_point now;
  now = rung::LoopWatch::Clock::time_point(100min);
  rung::LoopWatch watch([] { return now; });
  watch.start(1h);
  const auto round = [&](std::chrono::seconds length) {
    watch.roundBegins();
    now += length;
    watch.ran(CallbackKind::task, -1);
    watch.roundEnds();
  };
  const auto longest = [&] {
    LoopStats stats;
    watch.addTo(stats);
    return stats.longestRound;
  };
  round(5s);
  round(2s);
  CHECK(longest() == 5s);
  now += 1min;
  CHECK(longest() == 5s);  // nothing has run meanwhile
  round(1s);
  CHECK(longest() == 5s);
  now += 1min;
  CHECK(longest() == 1s);
  round(3s);
  CHECK(longest() == 3s);
  now += 2min;
  CHECK(longest() == 0s);
  round(1s);
  CHECK(longest() == 1s);
}

// The log took the time, and the next callback was blamed for it.
TEST_CASE("EventLoop watch: the limit itself is slow, and the log's time is nobody's") {
  static rung::LoopWatch::Clock::time_point now;
  now = rung::LoopWatch::Clock::time_point(1h);
  rung::Logger::setOutput([](std::string_view) { now += 1s; });
  rung::LoopWatch watch([] { return now; });
  watch.start(10ms);
  watch.roundBegins();
  const auto slow = [&](std::chrono::nanoseconds length) {
    now += length;
    watch.ran(CallbackKind::task, -1);
    LoopStats stats;
    watch.addTo(stats);
    return stats.slowOf(CallbackKind::task);
  };
  CHECK(slow(10ms - 1ns) == 0);
  CHECK(slow(10ms) == 1);
  CHECK(slow(10ms - 1ns) == 1);
  CHECK(slow(11ms) == 2);
  rung::Logger::setOutput(nullptr);
}

TEST_CASE("EventLoop watch: a loop that sleeps is not busy") {
  EventLoop loop;
  loop.watchSlowCallbacks(1h);
  CHECK(loop.runOnce(30ms));
  CHECK(loop.stats().busy < 30ms);
}

TEST_CASE("EventLoop watch: limits that make no sense, and the wrong thread") {
  EventLoop loop;
  CHECK_THROWS_AS(loop.watchSlowCallbacks(0ms), std::invalid_argument);
  CHECK_THROWS_AS(loop.watchSlowCallbacks(-1s), std::invalid_argument);
  loop.watchSlowCallbacks(std::chrono::hours::max());
  loop.watchSlowCallbacks(1s);  // another limit
  const auto elsewhere = runInChild([] {
    EventLoop ofParent;
    std::thread([&] { ofParent.watchSlowCallbacks(1s); }).join();
  });
  CHECK(elsewhere.aborted());
}

}  // namespace
