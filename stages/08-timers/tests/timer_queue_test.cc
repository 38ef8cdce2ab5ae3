#include <doctest/doctest.h>

#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "rung/net/EventLoop.h"
#include "rung/net/TimerQueue.h"

#include "tests/support/ChildProcess.h"

using namespace std::chrono_literals;
using rung::EventLoop;
using rung::TimerId;
using rung::TimerQueue;
using rung::testing::runInChild;

namespace {

using Clock = TimerQueue::Clock;

/// A queue whose time the test sets. It is ahead of the kernel's by an hour, so that the timerfd,
/// which goes by that one, never rings: runExpired() is called by hand.
struct QueueFixture {
  QueueFixture() { time = start = Clock::now() + 1h; }

  void advanceTo(Clock::duration sinceStart) {
    time = start + sinceStart;
    queue.runExpired();
  }
  TimerId add(Clock::duration sinceStart, char c) {
    return queue.addAt(start + sinceStart, [this, c] { log += c; });
  }

  static inline Clock::time_point time;
  Clock::time_point start;
  EventLoop loop;
  TimerQueue queue{&loop, [] { return time; }};
  std::string log;
};

TEST_CASE_FIXTURE(QueueFixture, "TimerQueue: runs what is due, in order, and nothing else") {
  add(20ms, 'b');
  add(10ms, 'a');
  add(20ms, 'c');
  add(30ms, 'd');
  advanceTo(9ms);
  CHECK(log.empty());
  advanceTo(20ms);
  CHECK(log == "abc");
  CHECK(queue.size() == 1);
}

// In muduo a timer that was taken out of the set for its batch can no longer be found by cancel():
// the callback of a timer that its owner had just cancelled ran on what the owner had destroyed.
TEST_CASE_FIXTURE(QueueFixture,
                  "TimerQueue: a timer cancelled in the batch in which it is due stays quiet") {
  TimerId b;
  TimerId c;
  bool cancelled = false;
  queue.addAt(start + 10ms, [&] {
    log += 'a';
    cancelled = queue.cancel(b) && queue.cancel(c);
  });
  b = add(10ms, 'b');
  c = queue.addEvery(10ms, [&] { log += 'c'; });
  add(10ms, 'd');
  advanceTo(10ms);
  CHECK(cancelled);
  CHECK(log == "ad");
  advanceTo(100ms);
  CHECK(log == "ad");
}

TEST_CASE_FIXTURE(QueueFixture,
                  "TimerQueue: cancelling a timer that has run in this batch says false") {
  const TimerId a = add(10ms, 'a');
  bool cancelled = true;
  queue.addAt(start + 10ms, [&] { cancelled = queue.cancel(a); });
  advanceTo(10ms);
  CHECK_FALSE(cancelled);
  CHECK(log == "a");
}

TEST_CASE_FIXTURE(QueueFixture,
                  "TimerQueue: a repeating timer that cancels itself does not come again") {
  TimerId id;
  bool first = false;
  bool second = true;
  auto witness = std::make_shared<int>(0);
  id = queue.addEvery(10ms, [&, witness] {
    first = queue.cancel(id);
    second = queue.cancel(id);
    ++*witness;  // what the callback holds is still there
  });
  advanceTo(10ms);
  CHECK(first);
  CHECK_FALSE(second);
  CHECK(witness.use_count() == 1);
  advanceTo(100ms);
  CHECK(*witness == 1);
}

TEST_CASE_FIXTURE(QueueFixture,
                  "TimerQueue: a timer that runs once and cancels itself does no harm") {
  TimerId id;
  bool cancelled = true;
  id = queue.addAt(start + 10ms, [&] {
    log += 'a';
    cancelled = queue.cancel(id);
  });
  add(10ms, 'b');
  advanceTo(10ms);
  CHECK_FALSE(cancelled);
  CHECK(log == "ab");
}

TEST_CASE_FIXTURE(QueueFixture, "TimerQueue: cancelled twice, the second is false") {
  const TimerId id = add(10ms, 'a');
  CHECK(queue.cancel(id));
  CHECK_FALSE(queue.cancel(id));
  CHECK_FALSE(queue.cancel(TimerId()));
  advanceTo(10ms);
  CHECK(log.empty());
}

TEST_CASE_FIXTURE(QueueFixture, "TimerQueue: a callback may cancel all others of its batch") {
  std::vector<TimerId> ids;
  int cancelled = 0;
  queue.addAt(start + 10ms, [&] {
    for (const TimerId& id : ids)
      cancelled += queue.cancel(id) ? 1 : 0;
  });
  for (int i = 0; i < 1000; ++i)
    ids.push_back(add(i % 2 == 0 ? 10ms : 50ms, 'x'));
  advanceTo(10ms);
  CHECK(cancelled == 1000);
  CHECK(queue.size() == 0);
  advanceTo(50ms);
  CHECK(log.empty());
}

// A loop over "all that is due" would never end here, and the sockets would wait.
TEST_CASE_FIXTURE(QueueFixture,
                  "TimerQueue: what a callback adds waits for the next round, due or not") {
  queue.addAt(start + 10ms, [&] {
    for (int i = 0; i < 1000; ++i)
      add(5ms, 'x');
    log += '.';
  });
  add(10ms, 'a');
  advanceTo(10ms);
  CHECK(log == ".a");
  CHECK(queue.size() == 1000);
  queue.runExpired();
  CHECK(log == ".a" + std::string(1000, 'x'));
}

TEST_CASE_FIXTURE(QueueFixture,
                  "TimerQueue: a callback may move its own timer on, as a timeout does") {
  TimerId id;
  std::function<void()> again = [&] {
    log += 'x';
    id = queue.addAfter(10ms, [&] { again(); });
  };
  again();
  for (auto now = 10ms; now <= 50ms; now += 10ms)
    advanceTo(now);
  CHECK(log == "xxxxxx");
  CHECK(queue.cancel(id));
}

// "The next one comes an interval from now" adds up the delays of all runs.
TEST_CASE_FIXTURE(QueueFixture,
                  "TimerQueue: a repeating timer does not drift when its runs come late") {
  queue.addEvery(10ms, [&] { log += 'x'; });
  advanceTo(13ms);
  advanceTo(19ms);
  CHECK(log == "x");
  advanceTo(20ms);
  advanceTo(34ms);
  advanceTo(40ms);
  CHECK(log == "xxxx");
}

// After a suspended virtual machine or a debugger's stop, thousands of runs may have been missed.
TEST_CASE_FIXTURE(QueueFixture, "TimerQueue: a repeating timer leaves out what it missed") {
  queue.addEvery(10ms, [&] { log += 'x'; });
  advanceTo(95ms);
  queue.runExpired();
  CHECK(log == "x");
  advanceTo(99ms);
  CHECK(log == "x");
  advanceTo(100ms);
  CHECK(log == "xx");
}

TEST_CASE_FIXTURE(QueueFixture,
                  "TimerQueue: a callback slower than its interval leaves gaps, not a queue") {
  queue.addEvery(10ms, [&] {
    log += 'x';
    time += 25ms;
  });
  advanceTo(10ms);  // ends at 35
  queue.runExpired();
  CHECK(log == "x");
  advanceTo(40ms);
  CHECK(log == "xx");
}

TEST_CASE_FIXTURE(QueueFixture, "TimerQueue: an interval of zero or less is refused") {
  CHECK_THROWS_AS(queue.addEvery(0ms, [] {}), std::invalid_argument);
  CHECK_THROWS_AS(queue.addEvery(-1ns, [] {}), std::invalid_argument);
  CHECK(queue.size() == 0);
}

TEST_CASE_FIXTURE(QueueFixture, "TimerQueue: deadlines at the ends of the clock's range") {
  queue.addAt(Clock::time_point::max(), [&] { log += 'z'; });
  queue.addAfter(Clock::duration::max(), [&] { log += 'z'; });
  queue.addEvery(Clock::duration::max(), [&] { log += 'z'; });
  queue.addAt(Clock::time_point::min(), [&] { log += 'a'; });
  queue.addAfter(-1h, [&] { log += 'b'; });
  queue.addAfter(0ns, [&] { log += 'c'; });
  queue.runExpired();
  CHECK(log == "abc");
  CHECK(queue.size() == 3);
}

// Destroyed with the lock held, the callback's captures could not use the queue any more.
TEST_CASE_FIXTURE(QueueFixture, "TimerQueue: what a callback owns may use the queue when it goes") {
  const TimerId other = add(10ms, 'x');
  const auto makeOwner = [&] {
    return std::shared_ptr<void>(nullptr, [&](void*) {
      log += queue.cancel(other) ? '1' : '0';
      add(20ms, 'y');
    });
  };
  const TimerId id = queue.addAt(start + 10ms, [owner = makeOwner()] {});
  CHECK(queue.cancel(id));
  CHECK(log == "1");
  queue.addAt(start + 10ms, [owner = makeOwner()] {});
  advanceTo(10ms);
  CHECK(log == "10");
  queue.addAt(start + 30ms, [owner = makeOwner()] {});
  queue.close();
  CHECK(log == "100");
  CHECK(queue.size() == 0);  // what the last one added was refused
}

TEST_CASE_FIXTURE(QueueFixture, "TimerQueue: closed, it refuses timers and has none") {
  auto witness = std::make_shared<int>(0);
  const TimerId id = queue.addAfter(10ms, [witness] { ++*witness; });
  queue.close();
  CHECK(witness.use_count() == 1);
  CHECK_FALSE(queue.cancel(id));
  CHECK_FALSE(static_cast<bool>(queue.addAfter(10ms, [witness] { ++*witness; })));
  CHECK(witness.use_count() == 1);
  advanceTo(10ms);
  CHECK(*witness == 0);
}

// What a callback owns used a queue that was half destroyed. (~TimerQueue could be left empty, and
// no test noticed.)
TEST_CASE("TimerQueue: destroyed, it is closed first, for what the callbacks own may use it") {
  EventLoop loop;
  auto queue = std::make_unique<TimerQueue>(&loop);
  TimerQueue& it = *queue;
  TimerId refused;
  bool cancelled = true;
  const TimerId other = it.addAfter(1h, [] {});
  it.addAfter(1h, [owner = std::shared_ptr<void>(nullptr, [&](void*) {
                     cancelled = it.cancel(other);
                     refused = it.addAfter(1h, [] {});
                   })] {});
  refused = other;
  queue.reset();
  CHECK_FALSE(static_cast<bool>(refused));
  CHECK_FALSE(cancelled);
}

TEST_CASE("TimerQueue: an empty task is refused where it is added") {
  const auto child = runInChild([] {
    QueueFixture fixture;
    fixture.queue.addAfter(1ms, std::function<void()>());
  });
  CHECK(child.aborted());
  CHECK(child.says(" FATAL "));
}

}  // namespace
