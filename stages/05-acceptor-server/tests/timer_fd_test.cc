#include <doctest/doctest.h>

#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>

#include "rung/net/EventLoop.h"
#include "rung/net/TimerFd.h"

#include "tests/support/ChildProcess.h"

using namespace std::chrono_literals;
using rung::EventLoop;
using rung::TimerFd;
using rung::testing::runInChild;

namespace {

TEST_CASE("TimerFd: calls back once, not before the deadline") {
  EventLoop loop;
  int calls = 0;
  TimerFd timer(&loop, [&] { ++calls, loop.quit(); });
  const auto deadline = TimerFd::Clock::now() + 10ms;
  timer.arm(deadline);
  loop.loop();
  CHECK(TimerFd::Clock::now() >= deadline);
  CHECK(calls == 1);
}

TEST_CASE("TimerFd: a deadline in the past, or at the beginning of time, fires at once") {
  EventLoop loop;
  int calls = 0;
  TimerFd timer(&loop, [&] { ++calls, loop.quit(); });
  timer.arm(TimerFd::Clock::now() - 1h);
  loop.loop();
  timer.arm(TimerFd::Clock::time_point{});
  loop.loop();
  timer.arm(0ms);
  loop.loop();
  CHECK(calls == 3);
}

// now() + duration::max() lay in the past: a server that was given for ever to stop cut everybody
// at once. A thousand years overflowed before that, in the conversion to nanoseconds.
TEST_CASE("TimerFd: a delay or deadline that the clock cannot hold never comes") {
  EventLoop loop;
  int calls = 0;
  const auto callback = [&] { ++calls; };
  TimerFd longest(&loop, callback);
  TimerFd years(&loop, callback);
  TimerFd seconds(&loop, callback);
  TimerFd deadline(&loop, callback);
  longest.arm(TimerFd::Clock::duration::max());
  years.arm(std::chrono::hours(24 * 365 * 1000));
  seconds.arm(std::chrono::duration<double>(1e30));
  deadline.arm(std::chrono::time_point<TimerFd::Clock, std::chrono::hours>::max());
  TimerFd end(&loop, [&] { loop.quit(); });
  end.arm(1ms);
  loop.loop();
  CHECK(calls == 0);
}

TEST_CASE("TimerFd: a delay below zero fires at once, however far below") {
  EventLoop loop;
  int calls = 0;
  TimerFd timer(&loop, [&] { ++calls, loop.quit(); });
  timer.arm(TimerFd::Clock::duration::min());
  loop.loop();
  timer.arm(-std::chrono::hours(24 * 365 * 1000));
  loop.loop();
  timer.arm(TimerFd::Clock::time_point::min());
  loop.loop();
  CHECK(calls == 3);
}

TEST_CASE("TimerFd: arming again forgets the earlier deadline") {
  EventLoop loop;
  int calls = 0;
  TimerFd timer(&loop, [&] { ++calls, loop.quit(); });
  timer.arm(1ms);
  timer.arm(20ms);
  const auto later = TimerFd::Clock::now() + 19ms;
  loop.loop();
  CHECK(calls == 1);
  CHECK(TimerFd::Clock::now() >= later);
}

TEST_CASE("TimerFd: disarmed it does not fire, also when it has expired but was not read") {
  EventLoop loop;
  int unwanted = 0;
  TimerFd first(&loop, [&] { ++unwanted; });
  first.arm(0ms);
  first.disarm();
  TimerFd second(&loop, [&] { loop.quit(); });
  second.arm(5ms);
  loop.loop();
  CHECK(unwanted == 0);
}

TEST_CASE("TimerFd: the callback may arm it again") {
  EventLoop loop;
  int calls = 0;
  TimerFd* self = nullptr;
  TimerFd timer(&loop, [&] {
    if (++calls == 3) return loop.quit();
    self->arm(1ms);
  });
  self = &timer;
  timer.arm(1ms);
  loop.loop();
  CHECK(calls == 3);
}

// The wall clock cannot be set in a test, so ask the kernel which clock the descriptor follows.
TEST_CASE("TimerFd: follows the monotonic clock") {
  EventLoop loop;
  TimerFd timer(&loop, [] {});
  timer.arm(1h);
  bool found = false;
  for (int fd = 0; fd < 64; ++fd) {
    std::ifstream info("/proc/self/fdinfo/" + std::to_string(fd));
    std::stringstream text;
    text << info.rdbuf();
    if (text.str().find("clockid: ") == std::string::npos) continue;
    found = true;
    CHECK(text.str().find("clockid: 1\n") != std::string::npos);  // CLOCK_MONOTONIC
  }
  CHECK(found);
}

TEST_CASE("TimerFd: without a loop it aborts, and by name when its callback throws") {
  const auto noLoop = runInChild([] { const TimerFd timer(nullptr, [] {}); });
  CHECK(noLoop.aborted());
  const auto thrown = runInChild([] {
    EventLoop loop;
    TimerFd timer(&loop, [] { throw std::runtime_error("too late"); });
    timer.arm(0ms);
    loop.loop();
  });
  CHECK(thrown.aborted());
  CHECK(thrown.says("TimerFd"));
  CHECK(thrown.says("too late"));
}

}  // namespace
