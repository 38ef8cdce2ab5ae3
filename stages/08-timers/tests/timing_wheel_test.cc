#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <stdexcept>
#include <vector>

#include "rung/net/EventLoop.h"
#include "rung/net/TimingWheel.h"

#include "tests/support/ChildProcess.h"
#include "tests/support/Watched.h"

using namespace std::chrono_literals;
using doctest::Contains;
using rung::EventLoop;
using rung::TimingWheel;
using rung::testing::turn;
using rung::testing::Watched;

namespace {

TEST_CASE("TimingWheel: an entry that is never refreshed is expired once, after nine ticks") {
  TimingWheel wheel(nullptr, 8s);
  Watched entry;
  wheel.add(entry);
  turn(wheel, 8);
  CHECK(entry.timesIdle() == 0);
  CHECK(entry.isWatched());
  turn(wheel, 1);
  CHECK(entry.timesIdle() == 1);
  CHECK_FALSE(entry.isWatched());
  turn(wheel, 50);
  CHECK(entry.timesIdle() == 1);
}

// The rule for idle connections: kicked between 8 and 9 s after the last message.
TEST_CASE("TimingWheel: expires between timeout and timeout plus a tick after the last refresh") {
  for (int refreshedAtMs : {0, 1, 500, 999, 1000, 1001, 4321, 7999, 8000, 12999}) {
    TimingWheel wheel(nullptr, 8s, 1s);
    int nowMs = 0;
    int expiredAtMs = 0;
    Watched entry([&] { expiredAtMs = nowMs; });
    wheel.add(entry);
    // A tick comes before what else happens in its millisecond.
    for (; nowMs <= 30'000 && expiredAtMs == 0; ++nowMs) {
      if (nowMs > 0 && nowMs % 1000 == 0) wheel.tick();
      if (nowMs <= refreshedAtMs && (nowMs % 700 == 0 || nowMs == refreshedAtMs)) {
        wheel.refresh(entry);
      }
    }
    CAPTURE(refreshedAtMs);
    CHECK(expiredAtMs - refreshedAtMs > 8000);
    CHECK(expiredAtMs - refreshedAtMs <= 9000);
  }
}

TEST_CASE("TimingWheel: as long as it is refreshed, an entry is not idle") {
  TimingWheel wheel(nullptr, 8s);
  Watched entry;
  wheel.add(entry);
  for (int i = 0; i < 100; ++i) {
    turn(wheel, 8);
    wheel.refresh(entry);
  }
  CHECK(entry.timesIdle() == 0);
  turn(wheel, 9);
  CHECK(entry.timesIdle() == 1);
}

TEST_CASE("TimingWheel: a timeout is rounded up to whole ticks") {
  TimingWheel rounded(nullptr, 2500ms, 1s);
  TimingWheel shorterThanTick(nullptr, 1ms, 1s);
  TimingWheel justOver(nullptr, 2001ms, 1s);
  Watched a;
  Watched b;
  Watched c;
  rounded.add(a);
  shorterThanTick.add(b);
  justOver.add(c);
  turn(rounded, 3);
  turn(shorterThanTick, 1);
  turn(justOver, 3);
  CHECK(a.timesIdle() + b.timesIdle() + c.timesIdle() == 0);
  turn(rounded, 1);
  turn(shorterThanTick, 1);
  turn(justOver, 1);
  CHECK(a.timesIdle() + b.timesIdle() + c.timesIdle() == 3);
}

TEST_CASE("TimingWheel: times of zero or less are refused") {
  CHECK_THROWS_AS(TimingWheel(nullptr, 0ms), std::invalid_argument);
  CHECK_THROWS_AS(TimingWheel(nullptr, -1s), std::invalid_argument);
  CHECK_THROWS_AS(TimingWheel(nullptr, 8s, 0ms), std::invalid_argument);
  for (const char* time : {"8000 ms", "-1 ms"})
    CHECK_THROWS_WITH_AS(TimingWheel(nullptr, 8s, -1ms), Contains(time), std::invalid_argument);
}

// "Never" in milliseconds ended the process where the first connection came; a day in ticks of a
// millisecond took 1.35 GB.
TEST_CASE(
    "TimingWheel: times that need too many buckets are refused, with the tick that would do") {
  for (const char* time : {"86400000 ms", " 1 ms", "660 ms"})
    CHECK_THROWS_WITH_AS(TimingWheel(nullptr, 24h, 1ms), Contains(time), std::invalid_argument);
  CHECK(TimingWheel::bucketsFor(24h, 660ms) <= TimingWheel::kMaxBuckets);
  CHECK_THROWS_AS((void)TimingWheel::bucketsFor(24h, 659ms), std::invalid_argument);
  CHECK_THROWS_AS(TimingWheel(nullptr, std::chrono::milliseconds::max()), std::invalid_argument);
  CHECK(TimingWheel::bucketsFor(24h, 1s) == 86'401);
  CHECK(TimingWheel::bucketsFor(std::chrono::milliseconds(TimingWheel::kMaxBuckets - 1), 1ms) ==
        TimingWheel::kMaxBuckets);
  EventLoop loop;
  TimingWheel never(&loop, std::chrono::milliseconds::max(), std::chrono::milliseconds::max());
  Watched entry;
  never.add(entry);
  loop.runAfter(1ms, [&] { loop.quit(); });
  loop.loop();
  CHECK(entry.timesIdle() == 0);
}

TEST_CASE("TimingWheel: an entry leaves when it is removed or destroyed") {
  TimingWheel wheel(nullptr, 2s);
  Watched removed;
  wheel.add(removed);
  {
    Watched destroyed;
    wheel.add(destroyed);
  }
  removed.remove();
  removed.remove();
  wheel.refresh(removed);  // does not bring it back
  CHECK_FALSE(removed.isWatched());
  turn(wheel, 10);
  CHECK(removed.timesIdle() == 0);
  wheel.add(removed);
  turn(wheel, 10);
  CHECK(removed.timesIdle() == 1);
}

TEST_CASE("TimingWheel: adding an entry again is a refresh") {
  TimingWheel wheel(nullptr, 2s);
  Watched entry;
  wheel.add(entry);
  turn(wheel, 2);
  wheel.add(entry);
  turn(wheel, 2);
  CHECK(entry.timesIdle() == 0);
  turn(wheel, 5);
  CHECK(entry.timesIdle() == 1);
}

TEST_CASE("TimingWheel: ten thousand idle entries go in one tick, active ones stay") {
  constexpr int kIdle = 10'000;
  TimingWheel wheel(nullptr, 8s);
  std::vector<std::unique_ptr<Watched>> idle;
  std::vector<std::unique_ptr<Watched>> active;
  int expired = 0;
  for (int i = 0; i < kIdle; ++i) {
    idle.push_back(std::make_unique<Watched>([&] { ++expired; }));
    wheel.add(*idle.back());
    active.push_back(std::make_unique<Watched>([&] { ++expired; }));
    wheel.add(*active.back());
  }
  for (int t = 0; t < 8; ++t) {
    wheel.tick();
    for (const auto& entry : active)
      wheel.refresh(*entry);
  }
  CHECK(expired == 0);
  wheel.tick();
  CHECK(expired == kIdle);
  CHECK(std::none_of(active.begin(), active.end(), [](auto& e) { return e->timesIdle() != 0; }));
  turn(wheel, 8);
  CHECK(expired == 2 * kIdle);
}

TEST_CASE("TimingWheel: a hundred thousand random steps, as a simple model does them") {
  const char* wanted = std::getenv("RUNG_SEED");
  const std::uint64_t seed =
      wanted != nullptr ? std::strtoull(wanted, nullptr, 10) : std::random_device()();
  MESSAGE("RUNG_SEED=", seed);
  std::mt19937_64 random(seed);
  constexpr int kTimeout = 5;
  TimingWheel wheel(nullptr, std::chrono::seconds(kTimeout));
  std::vector<std::unique_ptr<Watched>> entries;
  std::set<int> expired;
  entries.reserve(200);
  for (int i = 0; i < 200; ++i) {
    entries.push_back(std::make_unique<Watched>([&expired, i] { expired.insert(i); }));
  }
  std::map<int, int> lastRefresh;  // the model: the tick of the last refresh of those watched
  int now = 0;
  for (int step = 0; step < 100'000; ++step) {
    const int i = static_cast<int>(random() % entries.size());
    Watched& entry = *entries[static_cast<std::size_t>(i)];
    const auto dice = random() % 100;
    if (dice < 30) {
      wheel.add(entry);
      lastRefresh[i] = now;
    } else if (dice < 80) {
      wheel.refresh(entry);
      if (lastRefresh.contains(i)) lastRefresh[i] = now;
    } else if (dice < 90) {
      entry.remove();
      lastRefresh.erase(i);
    } else {
      ++now;
      wheel.tick();
      std::set<int> expected;
      for (const auto& [which, when] : lastRefresh) {
        if (now - when > kTimeout) expected.insert(which);
      }
      for (int which : expected)
        lastRefresh.erase(which);
      REQUIRE(expired == expected);
      expired.clear();
    }
    REQUIRE(entry.isWatched() == lastRefresh.contains(i));
  }
}

}  // namespace
