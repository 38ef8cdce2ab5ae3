#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <iterator>
#include <memory>
#include <new>
#include <stdexcept>

#include "rung/net/EventLoop.h"
#include "rung/net/TimingWheel.h"

#include "tests/support/ChildProcess.h"
#include "tests/support/Watched.h"

using namespace std::chrono_literals;
using rung::EventLoop;
using rung::TimingWheel;
using rung::testing::runInChild;
using rung::testing::turn;
using rung::testing::Watched;

namespace {

using Clock = std::chrono::steady_clock;

TEST_CASE("TimingWheel: an entry's callback may keep it, by a refresh or by adding it") {
  TimingWheel wheel(nullptr, 2s);
  Watched* refreshing = nullptr;
  Watched* adding = nullptr;
  Watched a([&] {
    if (a.timesIdle() == 1) wheel.refresh(*refreshing);
  });
  Watched b([&] {
    if (b.timesIdle() == 1) wheel.add(*adding);
  });
  refreshing = &a;
  adding = &b;
  wheel.add(a);
  wheel.add(b);
  turn(wheel, 3);
  CHECK(a.timesIdle() == 1);
  CHECK(b.timesIdle() == 1);
  turn(wheel, 2);
  CHECK(a.timesIdle() == 1);
  CHECK(b.timesIdle() == 1);
  turn(wheel, 1);
  CHECK(a.timesIdle() == 2);
  CHECK(b.timesIdle() == 2);
  CHECK_FALSE(a.isWatched());
  CHECK_FALSE(b.isWatched());
}

TEST_CASE("TimingWheel: an entry's callback may destroy it") {
  TimingWheel wheel(nullptr, 2s);
  std::unique_ptr<Watched> entry;
  entry = std::make_unique<Watched>([&] { entry.reset(); });
  Watched after;
  wheel.add(*entry);
  wheel.add(after);
  turn(wheel, 3);
  CHECK(entry == nullptr);
  CHECK(after.timesIdle() == 1);
}

// One connection's end may end others: a proxy's two sides, the members of a game.
TEST_CASE("TimingWheel: a callback may remove, destroy and refresh what is due in the same tick") {
  TimingWheel wheel(nullptr, 2s);
  Watched added;
  std::unique_ptr<Watched> due[4];
  int first = -1;  // any of them, whichever the wheel takes first
  const auto other = [&](int i) -> auto& {
    return due[(first + i) % 4];
  };
  for (int i = 0; i < 4; ++i) {
    due[i] = std::make_unique<Watched>([&, i] {
      if (first >= 0) return;
      first = i;
      other(1)->remove();
      wheel.refresh(*other(2));
      other(3).reset();
      wheel.add(added);
    });
    wheel.add(*due[i]);
  }
  turn(wheel, 3);
  REQUIRE(first >= 0);
  CHECK(due[first]->timesIdle() == 1);
  const Watched& removed = *other(1);
  const Watched& refreshed = *other(2);
  CHECK(removed.timesIdle() == 0);
  CHECK(refreshed.timesIdle() == 0);
  turn(wheel, 2);
  CHECK(refreshed.timesIdle() + added.timesIdle() == 0);
  turn(wheel, 1);
  CHECK(removed.timesIdle() == 0);
  CHECK(refreshed.timesIdle() == 1);
  CHECK(added.timesIdle() == 1);
}

// The last connection's end may end the server, and the wheel with it.
TEST_CASE("TimingWheel: a callback may destroy the wheel, and entries may outlive it") {
  auto wheel = std::make_unique<TimingWheel>(nullptr, 2s);
  Watched first([&] { wheel.reset(); });
  Watched dueToo([&] { wheel.reset(); });  // or this one is the first
  Watched dueLater;
  Watched withIt;
  wheel->add(first);
  wheel->add(dueToo);
  turn(*wheel, 1);
  wheel->add(dueLater);
  wheel->add(withIt);
  turn(*wheel, 2);
  CHECK(wheel == nullptr);
  CHECK(first.timesIdle() + dueToo.timesIdle() == 1);
  for (const Watched* entry : {&first, &dueToo, &dueLater, &withIt})
    CHECK_FALSE(entry->isWatched());
}

TEST_CASE("TimingWheel: turned by a loop, it expires an entry not before its time") {
  EventLoop loop;
  TimingWheel wheel(&loop, 6ms, 2ms);
  Watched entry([&] { loop.quit(); });
  wheel.add(entry);
  const Clock::time_point added = Clock::now();
  loop.loop();
  CHECK(Clock::now() - added >= 6ms);
}

// A late tick was followed by one that came on time, and so by too short a second: an entry that
// was refreshed while the loop was stuck was expired up to a tick too early.
TEST_CASE("TimingWheel: a loop that gets stuck does not make it expire an entry too early") {
  EventLoop loop;
  TimingWheel wheel(&loop, 10ms, 5ms);
  const Clock::time_point start = Clock::now();
  Clock::time_point refreshed;
  Watched entry([&] { loop.quit(); });
  wheel.add(entry);
  loop.queueInLoop([&] {
    while (Clock::now() - start < 9ms) {
      // stuck
    }
    wheel.refresh(entry);
    refreshed = Clock::now();
  });
  loop.loop();
  CHECK(Clock::now() - refreshed >= 10ms);
}

TEST_CASE("TimingWheel: destroyed, it leaves no timer behind; destroyed after its loop, no harm") {
  Watched entry;
  std::unique_ptr<TimingWheel> late;
  {
    EventLoop loop;
    {
      TimingWheel wheel(&loop, 1ms, 1ms);
      wheel.add(entry);
    }
    late = std::make_unique<TimingWheel>(&loop, 1s);
    loop.runAfter(5ms, [&] { loop.quit(); });
    loop.loop();
    CHECK(entry.timesIdle() == 0);
    late->add(entry);
  }
  late.reset();
  CHECK_FALSE(entry.isWatched());
}

TEST_CASE("TimingWheel: turned from a callback of its own, it aborts") {
  const auto child = runInChild([] {
    TimingWheel wheel(nullptr, 1s);
    Watched entry([&] { wheel.tick(); });
    wheel.add(entry);
    turn(wheel, 2);
  });
  CHECK(child.aborted());
  CHECK(child.says("TimingWheel"));
}

TEST_CASE("TimingWheel: an exception from onIdle() ends the process, and names it") {
  const auto child = runInChild([] {
    TimingWheel wheel(nullptr, 1s);
    Watched entry([] { throw std::runtime_error("not idle at all"); });
    wheel.add(entry);
    turn(wheel, 2);
  });
  CHECK(child.aborted());
  CHECK(child.says("not idle at all"));
}

// The test above needs a sanitizer to notice a timer that is left: freed memory looks as before.
TEST_CASE("TimingWheel: destroyed, it is not touched by its loop") {
  EventLoop loop;
  alignas(TimingWheel) std::byte place[sizeof(TimingWheel)];
  std::destroy_at(new (place) TimingWheel(&loop, 1ms, 1ms));
  std::fill(std::begin(place), std::end(place), std::byte{0xFF});
  loop.runAfter(5ms, [&] { loop.quit(); });
  loop.loop();
  CHECK(std::all_of(std::begin(place), std::end(place),
                    [](std::byte byte) { return byte == std::byte{0xFF}; }));
}

}  // namespace
