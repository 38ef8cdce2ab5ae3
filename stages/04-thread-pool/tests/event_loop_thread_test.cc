#include <doctest/doctest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <latch>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "rung/base/CurrentThread.h"
#include "rung/net/EventLoop.h"
#include "rung/net/EventLoopThread.h"
#include "rung/net/EventLoopThreadPool.h"
#include "rung/net/Mailbox.h"

#include "tests/support/ChildProcess.h"
#include "tests/support/Thrown.h"

using rung::EventLoop;
using rung::EventLoopThread;
using rung::EventLoopThreadPool;
using rung::testing::mentions;
using rung::testing::runInChild;
using rung::testing::thrown;

namespace {

pid_t threadOf(EventLoop* loop) {
  std::latch done(1);
  pid_t tid = 0;
  loop->runInLoop([&] {
    tid = rung::CurrentThread::tid();
    done.count_down();
  });
  done.wait();
  return tid;
}

TEST_CASE("EventLoopThread: gives a loop that runs on another thread") {
  EventLoopThread thread;
  EventLoop* loop = thread.startLoop();
  REQUIRE(loop != nullptr);
  CHECK_FALSE(loop->isInLoopThread());
  CHECK(threadOf(loop) != rung::CurrentThread::tid());
}

TEST_CASE("EventLoopThread: never started, it goes without a trace") {
  const EventLoopThread thread;
}

TEST_CASE("EventLoopThread: the init callback runs first, on the new thread, with its loop") {
  EventLoop* seen = nullptr;
  std::string name;
  EventLoopThread thread(
      [&](EventLoop* loop) {
        seen = loop->isInLoopThread() ? loop : nullptr;
        name = rung::CurrentThread::name();
      },
      "io-1");
  EventLoop* loop = thread.startLoop();
  CHECK(seen == loop);
  CHECK(name == "io-1");
}

TEST_CASE("EventLoopThread: a task queued in the init callback runs") {
  std::latch done(1);
  EventLoopThread thread([&](EventLoop* loop) { loop->queueInLoop([&] { done.count_down(); }); });
  thread.startLoop();
  done.wait();
}

TEST_CASE("EventLoopThread: the destructor runs what was queued, then joins") {
  int runs = 0;
  {
    EventLoopThread thread;
    EventLoop* loop = thread.startLoop();
    for (int i = 0; i < 100; ++i)
      loop->queueInLoop([&] { ++runs; });
  }
  CHECK(runs == 100);
}

// muduo reads a pointer to the loop without the lock, and does not join when the loop is gone.
TEST_CASE("EventLoopThread: a loop that ended by itself is joined, and not touched") {
  for (int i = 0; i < 100; ++i) {
    EventLoopThread thread;
    EventLoop* loop = thread.startLoop();
    const auto mailbox = loop->mailbox();
    loop->runInLoop([loop] { loop->quit(); });
    if (i % 2 == 0) continue;  // it may end at any moment; or it has ended:
    while (mailbox->post([] {}))
      std::this_thread::yield();
  }
}

// A server that owns its I/O threads may be destroyed by a callback that runs on one of them.
TEST_CASE("EventLoopThread: destroyed from a callback of its own loop") {
  std::latch assigned(1);
  std::latch done(1);
  auto thread = std::make_unique<EventLoopThread>();
  EventLoop* loop = thread->startLoop();
  auto witness = std::make_shared<int>(0);
  loop->queueInLoop([&, witness, loop] {
    assigned.wait();
    thread.reset();
    loop->queueInLoop([&done] { done.count_down(); });  // the loop is still there, and this runs
  });
  assigned.count_down();
  done.wait();
  CHECK(thread == nullptr);
}

// What belongs to a loop had to outlive it: there was no place on its thread for the end of it.
TEST_CASE("EventLoopThread: the exit callback runs last, on the thread, with its loop") {
  std::string order;
  EventLoop* seen = nullptr;
  auto thread = std::make_unique<EventLoopThread>();
  auto witness = std::make_shared<int>(0);
  thread->setThreadExitCallback([&, witness](EventLoop* loop) {
    order += 'e';
    seen = EventLoop::ofCurrentThread() == loop ? loop : nullptr;
    loop->queueInLoop([&, witness] { order += 'x'; });
  });
  EventLoop* const loop = thread->startLoop();
  loop->queueInLoop([&] { order += 'a'; });
  CHECK(seen == nullptr);
  thread.reset();
  CHECK(seen == loop);
  CHECK(order == "ae");
  CHECK(witness.use_count() == 1);
  const auto child = runInChild([] {
    EventLoopThread thrower({}, "io-7");
    thrower.setThreadExitCallback([](EventLoop*) { throw std::runtime_error("no farewell"); });
    thrower.startLoop();
  });
  CHECK(child.aborted());
  CHECK(child.says("io-7"));
}

// It ended the process.
TEST_CASE(
    "EventLoopThread: startLoop throws what the init callback throws, and can be tried again") {
  int inits = 0;
  EventLoopThread thread([&](EventLoop* loop) {
    loop->queueInLoop([] {});
    if (++inits == 1) throw std::runtime_error("no licence");
  });
  CHECK_THROWS_WITH_AS(thread.startLoop(), "no licence", std::runtime_error);
  EventLoop* const loop = thread.startLoop();
  CHECK(threadOf(loop) != rung::CurrentThread::tid());
  CHECK(inits == 2);
}

TEST_CASE("EventLoopThread: starting it twice aborts with the name") {
  const auto child = runInChild([] {
    EventLoopThread thread({}, "io-1");
    thread.startLoop();
    thread.startLoop();
  });
  CHECK(child.aborted());
  CHECK(child.says("io-1"));
}

TEST_CASE("EventLoopThread: without descriptors for the loop, startLoop throws") {
  const auto child = runInChild([] {
    const rlimit none{0, 0};
    setrlimit(RLIMIT_NOFILE, &none);
    int error = 0;
    try {
      EventLoopThread thread;
      thread.startLoop();
    } catch (const std::system_error& e) {
      error = e.code().value();
    }
    _exit(error == EMFILE ? 7 : 1);
  });
  CHECK_MESSAGE(child.exitedWith(7), child.output);
}

TEST_CASE("EventLoopThreadPool: hands out its loops in turn") {
  EventLoop base;
  EventLoopThreadPool pool(&base);
  pool.setThreadNum(3);
  CHECK_FALSE(pool.started());
  pool.start();
  CHECK(pool.started());
  const std::vector<EventLoop*> all = pool.getAllLoops();
  REQUIRE(all.size() == 3);
  for (int round = 0; round < 2; ++round) {
    for (EventLoop* loop : all)
      CHECK(pool.getNextLoop() == loop);
  }
  for (EventLoop* loop : all)
    CHECK(loop != &base);
}

TEST_CASE("EventLoopThreadPool: without threads the base loop does it all") {
  EventLoop base;
  EventLoopThreadPool pool(&base);
  EventLoop* initialised = nullptr;
  pool.start([&](EventLoop* loop) { initialised = loop; });
  CHECK(initialised == &base);
  CHECK(pool.getNextLoop() == &base);
  CHECK(pool.getAllLoops() == std::vector<EventLoop*>{&base});
}

TEST_CASE("EventLoopThreadPool: starts its threads one by one, with names in order") {
  EventLoop base;
  std::vector<std::string> names;  // no lock: the next thread begins when the last one is ready
  {
    EventLoopThreadPool pool(&base, "io");
    pool.setThreadNum(4);
    pool.start([&](EventLoop*) { names.emplace_back(rung::CurrentThread::name()); });
  }
  CHECK(names == std::vector<std::string>{"io-1", "io-2", "io-3", "io-4"});
}

TEST_CASE("EventLoopThreadPool: destroyed while its loops run") {
  EventLoop base;
  for (int i = 0; i < 20; ++i) {
    std::atomic<int> runs{0};
    EventLoopThreadPool pool(&base);
    pool.setThreadNum(3);
    pool.start();
    for (EventLoop* loop : pool.getAllLoops()) {
      for (int k = 0; k < 100; ++k)
        loop->queueInLoop([&runs] { ++runs; });
    }
    std::vector<pid_t> tids;
    for (EventLoop* loop : pool.getAllLoops())
      tids.push_back(threadOf(loop));
    CHECK(runs == 300);
    CHECK(tids[0] != tids[1]);
  }
}

TEST_CASE("EventLoopThreadPool: a negative number of threads is refused with the number") {
  EventLoop base;
  EventLoopThreadPool pool(&base);
  CHECK(mentions(thrown<std::invalid_argument>([&] { pool.setThreadNum(-2); }), {"-2"}));
}

TEST_CASE("EventLoopThreadPool: a start that fails half-way leaves no thread behind") {
  const auto child = runInChild([] {
    EventLoop base;
    const rlimit few{12, 12};  // enough for a few loops, not for forty
    setrlimit(RLIMIT_NOFILE, &few);
    EventLoopThreadPool pool(&base);
    pool.setThreadNum(40);
    try {
      pool.start();
    } catch (const std::system_error&) {
      if (!pool.started() && pool.getNextLoop() == &base) _exit(7);
    }
  });
  CHECK_MESSAGE(child.exitedWith(7), child.output);
}

// With threads it ended the process. Without, the next start() aborted: "started twice".
TEST_CASE(
    "EventLoopThreadPool: start throws what the init callback throws, and can be tried again") {
  for (const int threads : {0, 1, 3}) {
    CAPTURE(threads);
    EventLoop base;
    std::atomic<int> exits{0};
    EventLoopThreadPool pool(&base);
    pool.setThreadNum(threads);
    pool.setThreadExitCallback([&](EventLoop*) { ++exits; });
    int inits = 0;
    const auto init = [&](EventLoop*) {
      if (++inits == std::max(threads, 1)) throw std::runtime_error("no licence");
    };
    CHECK_THROWS_WITH_AS(pool.start(init), "no licence", std::runtime_error);
    CHECK_FALSE(pool.started());
    CHECK(pool.getNextLoop() == &base);
    CHECK(exits == std::max(threads - 1, 0));  // those that had been initialised
    pool.start(init);
    CHECK(pool.started());
    CHECK(pool.getAllLoops().size() == static_cast<std::size_t>(std::max(threads, 1)));
  }
}

TEST_CASE("EventLoopThreadPool: the exit callback runs on each of its threads, with its loop") {
  std::atomic<int> exits{0};
  EventLoop base;
  for (const int threads : {0, 3}) {
    EventLoopThreadPool pool(&base);
    pool.setThreadNum(threads);
    pool.setThreadExitCallback([&](EventLoop* loop) { exits += loop->isInLoopThread() ? 1 : 100; });
    pool.start();
  }
  CHECK(exits == 3);
}

TEST_CASE("EventLoopThreadPool: without a base loop it is refused by name") {
  const auto child = runInChild([] { const EventLoopThreadPool pool(nullptr, "baseless"); });
  CHECK(child.aborted());
  CHECK(child.says("baseless"));
}

TEST_CASE("EventLoopThreadPool: used from another thread aborts") {
  const auto child = runInChild([] {
    EventLoop base;
    EventLoopThreadPool pool(&base);
    pool.start();
    rung::Thread other([&] { (void)pool.getNextLoop(); });
    other.start();
    other.join();
  });
  CHECK(child.aborted());
}

TEST_CASE("EventLoopThreadPool: starting it twice, or changing it after that, aborts") {
  const auto twice = runInChild([] {
    EventLoop base;
    EventLoopThreadPool pool(&base, "again");
    pool.start();
    pool.start();
  });
  CHECK(twice.aborted());
  CHECK(twice.says("again"));
  const auto late = runInChild([] {
    EventLoop base;
    EventLoopThreadPool pool(&base, "late");
    pool.start();
    pool.setThreadNum(1);
  });
  CHECK(late.aborted());
  CHECK(late.says("late"));
  const auto exit = runInChild([] {
    EventLoop base;
    EventLoopThreadPool pool(&base, "late");
    pool.start();
    pool.setThreadExitCallback({});
  });
  CHECK(exit.aborted());
  CHECK(exit.says("late"));
}

}  // namespace
