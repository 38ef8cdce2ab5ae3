#include <doctest/doctest.h>
#include <malloc.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "rung/net/TimerHeap.h"

using namespace std::chrono_literals;
using rung::Task;
using rung::TimerHeap;
using rung::TimerId;

namespace {

using Clock = TimerHeap::Clock;
using Batch = std::vector<TimerHeap::Expired>;

/// The time `ms` after the clock's beginning.
Clock::time_point at(int ms) {
  return Clock::time_point(std::chrono::milliseconds(ms));
}

/// Takes and runs all that is due, as TimerQueue does.
void expire(TimerHeap& heap, int nowMs) {
  Batch batch;
  heap.takeExpired(at(nowMs), batch);
  for (const auto& [id, repeats] : batch) {
    Task callback = heap.start(id);
    if (!callback) continue;
    callback();
    if (repeats) heap.finish(id, at(nowMs), std::move(callback));
  }
}

struct Log {
  std::string text;
  auto append(char c) {
    return [this, c] { text += c; };
  }
};

TEST_CASE("TimerHeap: timers are due in the order of their deadlines, and not before them") {
  TimerHeap heap;
  Log log;
  CHECK(heap.earliest() == Clock::time_point::max());
  heap.add(at(30), 0ns, log.append('c'));
  heap.add(at(10), 0ns, log.append('a'));
  heap.add(at(20), 0ns, log.append('b'));
  CHECK(heap.earliest() == at(10));
  CHECK(heap.size() == 3);
  expire(heap, 9);
  CHECK(log.text.empty());
  expire(heap, 20);
  CHECK(log.text == "ab");
  CHECK(heap.earliest() == at(30));
  expire(heap, 1000);
  CHECK(log.text == "abc");
  CHECK(heap.size() == 0);
}

// A heap alone does not keep the order of equals: the root's place is taken by the last one.
TEST_CASE("TimerHeap: equal deadlines are due in the order in which they were added") {
  TimerHeap heap;
  std::vector<int> ran;
  std::vector<int> expected;
  std::vector<TimerId> ids;
  ids.reserve(999);
  for (int i = 0; i < 999; ++i) {
    ids.push_back(heap.add(at(i % 3), 0ns, [&ran, i] { ran.push_back(i); }));
  }
  for (int i = 0; i < 999; ++i) {
    if (i % 7 == 0) CHECK(heap.remove(ids[static_cast<std::size_t>(i)]).has_value());
  }
  for (int deadline = 0; deadline < 3; ++deadline) {
    for (int i = deadline; i < 999; i += 3) {
      if (i % 7 != 0) expected.push_back(i);
    }
  }
  expire(heap, 2);
  CHECK(ran == expected);
}

// What takes the place of a removed one comes from another branch of the tree. It may be due before
// those above it, and then it was found too late.
TEST_CASE("TimerHeap: whichever timer is removed, the others are due in their order") {
  std::mt19937 random(8);
  for (std::size_t timers = 1; timers <= 30; ++timers) {
    std::vector<int> deadlines(timers);
    std::iota(deadlines.begin(), deadlines.end(), 0);
    for (std::size_t removed = 0; removed < timers; ++removed) {
      std::shuffle(deadlines.begin(), deadlines.end(), random);
      TimerHeap heap;
      std::vector<int> ran;
      std::vector<TimerId> ids;
      for (const int deadline : deadlines)
        ids.push_back(heap.add(at(deadline), 0ns, [&ran, deadline] { ran.push_back(deadline); }));
      CHECK(heap.remove(ids[removed]).has_value());
      std::vector<int> expected = deadlines;
      expected.erase(expected.begin() + static_cast<std::ptrdiff_t>(removed));
      std::sort(expected.begin(), expected.end());
      expire(heap, 100);
      CHECK(ran == expected);
    }
  }
}

// The fewest that show it: with four children a node, the last of ten lies in another branch than
// the one that is removed, and is due before that one's parent.
TEST_CASE("TimerHeap: after one of ten is removed, the rest is due in order") {
  TimerHeap heap;
  Log log;
  std::vector<TimerId> ids;
  for (const char c : std::string("0513467892")) {
    ids.push_back(heap.add(at(c - '0'), 0ns, log.append(c)));
  }
  CHECK(heap.remove(ids[5]).has_value());
  for (int now = 0; now < 10; ++now)
    expire(heap, now);
  CHECK(log.text == "012345789");
}

TEST_CASE("TimerHeap: remove hands out the callback, once") {
  TimerHeap heap;
  auto witness = std::make_shared<int>(0);
  const TimerId id = heap.add(at(10), 0ns, [witness] { ++*witness; });
  {
    const auto callback = heap.remove(id);
    REQUIRE(callback.has_value());
    CHECK(heap.size() == 0);
    CHECK(witness.use_count() == 2);
  }
  CHECK(witness.use_count() == 1);
  CHECK_FALSE(heap.remove(id).has_value());
  expire(heap, 20);
  CHECK(*witness == 0);
}

TEST_CASE("TimerHeap: an id that names no timer removes none") {
  TimerHeap heap;
  CHECK_FALSE(heap.remove(TimerId()).has_value());
  Log log;
  const TimerId id = heap.add(at(10), 0ns, log.append('a'));
  CHECK_FALSE(heap.remove(TimerId()).has_value());
  CHECK_FALSE(TimerHeap().remove(id).has_value());
  expire(heap, 10);
  CHECK(log.text == "a");
  CHECK_FALSE(heap.remove(id).has_value());
}

// With the slot's number alone for an id, a cancel that comes late would hit a stranger.
TEST_CASE("TimerHeap: an old id does not touch the timer that has its slot now") {
  TimerHeap heap;
  Log log;
  const TimerId first = heap.add(at(10), 0ns, log.append('a'));
  CHECK(heap.remove(first).has_value());
  const TimerId second = heap.add(at(10), 0ns, log.append('b'));
  CHECK(first != second);
  CHECK_FALSE(heap.remove(first).has_value());
  expire(heap, 10);
  CHECK(log.text == "b");
  heap.add(at(20), 0ns, log.append('c'));
  CHECK_FALSE(heap.remove(second).has_value());
  expire(heap, 20);
  CHECK(log.text == "bc");
}

TEST_CASE("TimerHeap: what is removed after it was found due does not start") {
  TimerHeap heap;
  Log log;
  const TimerId a = heap.add(at(10), 0ns, log.append('a'));
  const TimerId b = heap.add(at(10), 5ms, log.append('b'));
  Batch batch;
  heap.takeExpired(at(10), batch);
  REQUIRE(batch.size() == 2);
  CHECK(heap.size() == 0);
  CHECK(heap.remove(a).has_value());
  CHECK(heap.remove(b).has_value());
  // In the slots that have become free.
  heap.add(at(15), 0ns, log.append('c'));
  heap.add(at(15), 0ns, log.append('d'));
  CHECK_FALSE(static_cast<bool>(heap.start(batch[0].id)));
  CHECK_FALSE(static_cast<bool>(heap.start(batch[1].id)));
  expire(heap, 15);
  CHECK(log.text == "cd");
}

TEST_CASE("TimerHeap: a repeating timer keeps its id, and waits on the grid of its interval") {
  TimerHeap heap;
  Log log;
  const TimerId id = heap.add(at(10), 10ms, log.append('x'));
  const auto nextMs = [&heap] { return heap.earliest().time_since_epoch() / 1ms; };
  expire(heap, 13);  // late by 3
  CHECK(nextMs() == 20);
  expire(heap, 20);
  CHECK(nextMs() == 30);
  expire(heap, 95);  // 40, 50 … 90 are left out
  CHECK(nextMs() == 100);
  expire(heap, 120);  // on the grid itself: the next one is in the future
  CHECK(nextMs() == 130);
  CHECK(log.text == "xxxx");
  CHECK(heap.remove(id).has_value());
  CHECK(heap.size() == 0);
}

TEST_CASE("TimerHeap: a repeating timer that was removed while it ran stays away") {
  TimerHeap heap;
  int runs = 0;
  const TimerId id = heap.add(at(10), 10ms, [&runs] { ++runs; });
  Batch batch;
  heap.takeExpired(at(10), batch);
  Task callback = heap.start(id);
  callback();
  const auto removed = heap.remove(id);
  REQUIRE(removed.has_value());
  CHECK_FALSE(static_cast<bool>(*removed));  // it is with whoever runs it
  heap.finish(id, at(10), std::move(callback));
  CHECK(static_cast<bool>(callback));  // NOLINT(bugprone-use-after-move): it was not taken
  CHECK(heap.size() == 0);
  CHECK_FALSE(heap.remove(id).has_value());
}

TEST_CASE("TimerHeap: an interval as long as the clock goes does not overflow") {
  TimerHeap heap;
  heap.add(at(10), Clock::duration::max(), [] {});
  expire(heap, 50);
  CHECK(heap.earliest() == Clock::time_point::max());
}

TEST_CASE("TimerHeap: timers that are left are destroyed with it") {
  auto witness = std::make_shared<int>(0);
  {
    TimerHeap heap;
    for (int i = 0; i < 1000; ++i) {
      heap.add(at(i), i % 2 == 0 ? 0ns : 1ms, [witness] { ++*witness; });
    }
    CHECK(witness.use_count() == 1001);
  }
  CHECK(witness.use_count() == 1);
  CHECK(*witness == 0);
}

TEST_CASE("TimerHeap: memory is used again") {
  TimerHeap heap;
  Batch batch;
  const auto round = [&] {
    for (int i = 0; i < 100; ++i) {
      const TimerId id = heap.add(at(i), 0ns, [] {});
      if (i % 2 == 0) CHECK(heap.remove(id).has_value());
    }
    heap.takeExpired(at(100), batch);
    for (const auto& expired : batch)
      heap.start(expired.id)();
    batch.clear();
  };
  round();
  const std::size_t before = mallinfo2().uordblks;
  for (int i = 0; i < 1000; ++i)
    round();
  CHECK(mallinfo2().uordblks == before);
}

TEST_CASE("TimerId: a value that can be compared, and names nothing by default") {
  TimerHeap heap;
  const TimerId a = heap.add(at(10), 0ns, [] {});
  const TimerId b = heap.add(at(5), 0ns, [] {});
  const TimerId copy = a;
  CHECK(copy == a);
  CHECK(a != b);
  CHECK(TimerId() == TimerId());
  CHECK(TimerId() != a);
  CHECK(static_cast<bool>(a));
  CHECK_FALSE(static_cast<bool>(TimerId()));
}

}  // namespace
