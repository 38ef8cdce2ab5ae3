#include <doctest/doctest.h>
#include <time.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <system_error>

#include "rung/net/EventLoop.h"
#include "rung/net/TimerQueue.h"

using namespace std::chrono_literals;
using rung::EventLoop;
using rung::TimerId;
using rung::TimerQueue;

namespace {

using Clock = TimerQueue::Clock;

/// This process's timerfds, by number.
std::set<std::string> timerFds() {
  std::set<std::string> fds;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;  // as the directory's own descriptor is
    if (std::filesystem::read_symlink(entry, gone) == "anon_inode:[timerfd]") {
      fds.insert(entry.path().filename());
    }
  }
  return fds;
}

/// What the kernel says of the timerfd that a queue has: its clock, and how long it has to go.
struct KernelsView {
  int clockId = -1;
  long secondsLeft = -1;
};

KernelsView kernelsView(const std::string& fd) {
  KernelsView view;
  std::ifstream info("/proc/self/fdinfo/" + fd);
  for (std::string key; info >> key;) {
    if (key == "clockid:") info >> view.clockId;
    if (key == "it_value:") info.ignore(2, '(') >> view.secondsLeft;
  }
  return view;
}

/// A queue on the kernel's time, and where to look at its timerfd.
struct RealQueue {
  EventLoop loop;
  const std::set<std::string> before = timerFds();
  TimerQueue queue{&loop};
  [[nodiscard]] KernelsView view() const {
    for (const std::string& fd : timerFds()) {
      if (!before.contains(fd)) return kernelsView(fd);
    }
    return {};
  }
};

// Nobody can set the clock for a test. But the kernel says by which clock a timerfd goes, and the
// manual that setting the time does not touch this one: clock_gettime(2).
TEST_CASE("TimerQueue: goes by CLOCK_MONOTONIC, which nobody can set") {
  static_assert(Clock::is_steady);
  const RealQueue real;
  REQUIRE(real.view().clockId != -1);
  CHECK(real.view().clockId == CLOCK_MONOTONIC);
  timespec monotonic{};
  const auto before = Clock::now().time_since_epoch();
  clock_gettime(CLOCK_MONOTONIC, &monotonic);
  const auto after = Clock::now().time_since_epoch();
  const auto kernels =
      std::chrono::seconds(monotonic.tv_sec) + std::chrono::nanoseconds(monotonic.tv_nsec);
  CHECK(before <= kernels);
  CHECK(kernels <= after);
}

TEST_CASE(
    "TimerQueue: the timerfd is set when the earliest deadline moves earlier, and only then") {
  RealQueue real;
  CHECK(real.view().secondsLeft == 0);  // not set
  const auto minutesLeft = [&] { return (real.view().secondsLeft + 59) / 60; };
  real.queue.addAfter(60min, [] {});
  CHECK(minutesLeft() == 60);
  real.queue.addAfter(70min, [] {});
  CHECK(minutesLeft() == 60);
  const TimerId earliest = real.queue.addAfter(50min, [] {});
  CHECK(minutesLeft() == 50);
  // Not set again: one useless event is cheaper than a system call for each cancel.
  real.queue.cancel(earliest);
  CHECK(minutesLeft() == 50);
  real.queue.runExpired();  // as when it has rung
  CHECK(minutesLeft() == 60);
}

// If the queue went on to believe that the timerfd is set to what has passed, no later deadline
// would ever set it. (Seen as a fault that no test noticed.)
TEST_CASE("TimerQueue: once it has run empty, what is added next sets the timerfd") {
  RealQueue real;
  real.queue.addAfter(0ns, [] {});
  real.queue.runExpired();
  CHECK(real.queue.size() == 0);
  real.queue.addAfter(60min, [] {});
  CHECK((real.view().secondsLeft + 59) / 60 == 60);
}

TEST_CASE("TimerQueue: what the callbacks of a batch add sets the timerfd once, at its end") {
  RealQueue real;
  long during = -1;
  real.queue.addAfter(0ns, [&] {
    for (auto delay = 90min; delay > 60min; delay -= 1min)
      real.queue.addAfter(delay, [] {});
    during = real.view().secondsLeft;
  });
  real.queue.runExpired();
  CHECK(during == 0);
  CHECK((real.view().secondsLeft + 59) / 60 == 61);
}

}  // namespace
