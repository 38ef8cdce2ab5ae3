#include <doctest/doctest.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <future>
#include <latch>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>

#include "rung/base/CurrentThread.h"
#include "rung/base/Logging.h"
#include "rung/base/ThreadPool.h"

#include "tests/support/Asleep.h"
#include "tests/support/ChildProcess.h"
#include "tests/support/Thrown.h"

using rung::Mutex;
using rung::MutexLock;
using rung::Task;
using rung::ThreadPool;
using rung::testing::mentions;
using rung::testing::runInChild;
using rung::testing::thrown;
using rung::testing::waitUntilAsleep;

namespace {

/// A task that keeps a worker busy until it is let go.
struct Plug {
  std::latch started{1};
  std::latch release{1};
  void operator()() {
    started.count_down();
    release.wait();
  }
};

TEST_CASE("ThreadPool: runs every task once, on its own threads") {
  std::atomic<int> runs{0};
  Mutex mutex;
  std::set<pid_t> threads;
  {
    ThreadPool pool;
    pool.start(3);
    for (int i = 0; i < 1000; ++i) {
      CHECK(pool.run([&] {
        ++runs;
        const MutexLock lock(mutex);
        threads.insert(rung::CurrentThread::tid());
      }));
    }
  }
  CHECK(runs == 1000);
  CHECK(threads.size() <= 3);
  CHECK(threads.count(rung::CurrentThread::tid()) == 0);
}

TEST_CASE("ThreadPool: with no threads a task runs inline") {
  ThreadPool pool;
  pool.setMaxQueueSize(1);
  pool.start(0);
  pid_t where = 0;
  CHECK(pool.run([&] { where = rung::CurrentThread::tid(); }));
  CHECK(where == rung::CurrentThread::tid());
}

TEST_CASE("ThreadPool: after stop tasks are refused, and destroyed unrun") {
  ThreadPool pool;
  auto witness = std::make_shared<int>(0);
  pool.start(1);
  CHECK(pool.run([witness] { ++*witness; }));
  pool.stop();
  CHECK_FALSE(pool.run([witness] { ++*witness; }));
  CHECK_FALSE(pool.tryRun([witness] { ++*witness; }));
  CHECK(*witness == 1);
  CHECK(witness.use_count() == 1);
  CHECK(pool.stop() == 0);  // twice is fine
}

// They were dropped: a server that was started before its pool answered nothing.
TEST_CASE("ThreadPool: tasks that come before start wait for it, and run in their order") {
  for (const int threads : {0, 1}) {
    CAPTURE(threads);
    ThreadPool pool;
    pool.setMaxQueueSize(2);
    std::string order;
    for (const char letter : {'a', 'b', 'c'})
      CHECK(pool.run([&order, letter] { order += letter; }));  // there is nobody to wait for
    CHECK_FALSE(pool.tryRun([&order] { order += 'd'; }));      // but the queue is full
    CHECK(pool.queueSize() == 3);
    pool.start(threads);
    pool.stop();
    CHECK(order == "abc");
  }
}

TEST_CASE("ThreadPool: tasks of a pool that is never started are destroyed unrun, and counted") {
  auto witness = std::make_shared<int>(0);
  ThreadPool pool;
  CHECK(pool.tryRun([witness] { ++*witness; }));
  CHECK(pool.run([witness] { ++*witness; }));
  CHECK(pool.stop() == 2);
  CHECK(witness.use_count() == 1);
  CHECK(*witness == 0);
}

TEST_CASE("ThreadPool: the init callback runs on each worker before its first task") {
  thread_local bool initialised = false;
  std::atomic<int> inits{0};
  std::atomic<int> good{0};
  {
    ThreadPool pool;
    pool.setThreadInitCallback([&] { initialised = true, ++inits; });
    pool.start(2);
    for (int i = 0; i < 100; ++i)
      pool.run([&] { good += initialised ? 1 : 0; });
  }
  CHECK(inits == 2);
  CHECK(good == 100);
}

TEST_CASE("ThreadPool: the exit callback runs on each worker after its last task") {
  thread_local int tasks = 0;
  std::atomic<int> exits{0};
  std::atomic<int> counted{0};
  ThreadPool pool;
  pool.setThreadExitCallback([&] { ++exits, counted += tasks; });
  pool.start(2);
  for (int i = 0; i < 100; ++i)
    pool.run([] { ++tasks; });
  pool.stop();
  CHECK(exits == 2);
  CHECK(counted == 100);
  const auto child = runInChild([] {
    ThreadPool thrower("thrower");
    thrower.setThreadExitCallback([] { throw std::runtime_error("no farewell"); });
    thrower.start(1);
  });
  CHECK(child.aborted());
  CHECK(child.says("thrower"));
}

// It ended the process, with no word about whose it was.
TEST_CASE("ThreadPool: start throws what an init callback throws, and can be tried again") {
  std::atomic<int> inits{0};
  std::atomic<int> exits{0};
  std::atomic<int> runs{0};
  ThreadPool pool;
  pool.setThreadExitCallback([&, starter = rung::CurrentThread::tid()] {
    waitUntilAsleep(starter);  // it waits for this thread's end
    ++exits;
  });
  pool.setThreadInitCallback([&] {
    if (++inits == 2) throw std::runtime_error("no licence");
  });
  pool.run([&] { ++runs; });
  CHECK_THROWS_WITH_AS(pool.start(3), "no licence", std::runtime_error);
  CHECK(inits == 3);
  CHECK(exits == 2);
  pool.run([&] { ++runs; });
  pool.start(2);
  pool.stop();
  CHECK(inits == 5);
  CHECK(runs == 2);
}

TEST_CASE("ThreadPool: stopped while it starts in vain, it stays so, and counts what it drops") {
  ThreadPool pool;
  std::size_t given = 0;
  std::size_t dropped = 0;
  std::thread stopper;
  pool.setThreadInitCallback([&] {
    stopper = std::thread([&] { dropped = pool.stop(); });
    while (pool.run([] {}))
      ++given;
    throw std::runtime_error("no licence");
  });
  CHECK_THROWS_AS(pool.start(1), std::runtime_error);
  stopper.join();
  CHECK_FALSE(pool.run([] {}));
  CHECK(dropped == given);
}

// The second one aborted: "started twice".
TEST_CASE("ThreadPool: after a start that found too few threads, start works") {
  const auto child = runInChild([] {
    pthread_attr_t normal;
    pthread_getattr_default_np(&normal);
    pthread_attr_t huge = normal;
    pthread_attr_setstacksize(&huge, std::size_t{1} << (sizeof(void*) == 8 ? 46 : 31));
    pthread_setattr_default_np(&huge);
    ThreadPool pool;
    int runs = 0;
    pool.run([&] { ++runs; });
    try {
      pool.start(2);
      _exit(1);
    } catch (const std::system_error&) {
    }
    pthread_setattr_default_np(&normal);
    pool.run([&] { ++runs; });
    pool.start(1);
    pool.stop();
    _exit(runs == 2 ? 7 : 2);
  });
  CHECK_MESSAGE(child.exitedWith(7), child.output);
}

TEST_CASE("ThreadPool: a negative number of threads is refused with the number") {
  ThreadPool pool;
  CHECK(mentions(thrown<std::invalid_argument>([&] { pool.start(-1); }), {"-1"}));
  pool.start(1);
}

// It ended the worker that took it: with one worker, all that came later was never run.
TEST_CASE("ThreadPool: an empty task is refused where it is given") {
  using Give = void (*)(ThreadPool&);
  for (const Give give : {Give([](ThreadPool& pool) { (void)pool.run(nullptr); }),
                          Give([](ThreadPool& pool) { (void)pool.tryRun(nullptr); })}) {
    const auto child = runInChild([give] {
      ThreadPool pool("sudoku");
      pool.start(1);
      give(pool);
    });
    CHECK(child.aborted());
    CHECK(child.says("sudoku"));
  }
}

TEST_CASE("ThreadPool: a full queue makes run wait, and tryRun say no") {
  ThreadPool pool;
  pool.setMaxQueueSize(2);
  pool.start(1);
  Plug plug;
  pool.run([&] { plug(); });
  plug.started.wait();
  std::atomic<int> runs{0};
  CHECK(pool.tryRun([&] { ++runs; }));
  CHECK(pool.tryRun([&] { ++runs; }));
  CHECK(pool.queueSize() == 2);

  Task refused([&] { ++runs; });
  CHECK_FALSE(pool.tryRun(std::move(refused)));
  CHECK(static_cast<bool>(refused));  // NOLINT(bugprone-use-after-move): not taken, not moved from

  std::promise<pid_t> tid;
  std::thread waiter([&] {
    tid.set_value(rung::CurrentThread::tid());
    CHECK(pool.run([&] { ++runs; }));
  });
  rung::testing::waitUntilAsleep(tid.get_future().get());
  CHECK(pool.queueSize() == 2);
  plug.release.count_down();
  waiter.join();
  pool.stop();
  CHECK(runs == 3);
}

TEST_CASE("ThreadPool: stop runs what is queued by default") {
  ThreadPool pool;
  pool.start(1);
  Plug plug;
  pool.run([&] { plug(); });
  plug.started.wait();
  std::atomic<int> runs{0};
  for (int i = 0; i < 20; ++i)
    pool.run([&] { ++runs; });
  plug.release.count_down();
  CHECK(pool.stop() == 0);
  CHECK(runs == 20);
}

TEST_CASE("ThreadPool: stop can drop what is queued, and counts it") {
  ThreadPool pool;
  pool.start(1);
  Plug plug;
  pool.run([&] { plug(); });
  plug.started.wait();
  auto witness = std::make_shared<int>(0);
  for (int i = 0; i < 20; ++i)
    pool.run([witness] { ++*witness; });
  std::thread releaser([&] {
    while (pool.queueSize() > 0)
      std::this_thread::yield();
    plug.release.count_down();
  });
  CHECK(pool.stop(ThreadPool::OnStop::dropQueued) == 20);
  releaser.join();
  CHECK(*witness == 0);
  CHECK(witness.use_count() == 1);
}

TEST_CASE("ThreadPool: stop wakes those who wait for room") {
  ThreadPool pool;
  pool.setMaxQueueSize(1);
  pool.start(1);
  Plug plug;
  pool.run([&] { plug(); });
  plug.started.wait();
  pool.run([] {});
  std::atomic<int> refused{0};
  std::thread waiter([&] {
    // The first of them waits for room; whichever does when the pool stops is refused.
    while (pool.run([] {})) {
    }
    ++refused;
  });
  std::thread stopper([&] { pool.stop(); });
  plug.release.count_down();
  waiter.join();
  stopper.join();
  CHECK(refused == 1);
}

// It asked whether the pool has stopped before it waited, and not again.
TEST_CASE("ThreadPool: who waits for room when it stops is refused") {
  ThreadPool pool;
  pool.setMaxQueueSize(1);
  pool.start(1);
  Plug plug;
  pool.run([&] { plug(); });
  plug.started.wait();
  pool.run([] {});
  std::promise<pid_t> tid;
  bool taken = true;
  std::thread waiter([&] {
    tid.set_value(rung::CurrentThread::tid());
    taken = pool.run([] {});
  });
  waitUntilAsleep(tid.get_future().get());  // it waits for room
  std::thread stopper([&] { pool.stop(); });
  waiter.join();  // though the worker has taken nothing
  plug.release.count_down();
  stopper.join();
  CHECK_FALSE(taken);
}

// Destroyed under the lock, it would wait for it for ever.
TEST_CASE("ThreadPool: what a task held that is dropped may call the pool when it is destroyed") {
  for (const auto what : {ThreadPool::OnStop::runQueued, ThreadPool::OnStop::dropQueued}) {
    const auto child = runInChild([=] {
      ThreadPool pool;  // without a worker, all that is queued is dropped
      const auto callRun = [](ThreadPool* p) {
        std::atomic<bool> back{false};
        std::thread watcher([&, tid = rung::CurrentThread::tid()] {
          waitUntilAsleep(tid);
          if (!back) LOG_FATAL << "run() waits";
        });
        if (p->run([] {})) LOG_FATAL << "run() took a task after stop()";
        back = true;
        watcher.join();
      };
      pool.run([held = std::shared_ptr<ThreadPool>(&pool, callRun)] {});
      if (pool.stop(what) != 1) LOG_FATAL << "stop() counted wrong";
    });
    CHECK(child.output == "");
    CHECK(child.exitedWith(0));
  }
}

TEST_CASE("ThreadPool: a task that throws is reported, and its worker goes on") {
  std::atomic<int> runs{0};
  std::atomic<int> reported{0};
  ThreadPool pool;
  pool.setExceptionCallback([&](std::exception_ptr e) {
    try {
      std::rethrow_exception(e);
    } catch (const std::runtime_error& error) {
      if (std::string(error.what()) == "bad input") ++reported;
    }
  });
  pool.start(1);
  pool.run([] { throw std::runtime_error("bad input"); });
  pool.run([&] { ++runs; });
  pool.stop();
  CHECK(reported == 1);
  CHECK(runs == 1);
}

TEST_CASE("ThreadPool: without an exception callback the log says which pool and why") {
  const auto child = runInChild([] {
    ThreadPool pool("sudoku");
    pool.start(1);
    pool.run([] { throw std::runtime_error("no solution"); });
    pool.run([] { throw 42; });
  });
  CHECK(child.exitedWith(0));
  CHECK(child.says("no solution"));
  CHECK(child.lines("sudoku") == 2);  // the number that is thrown has no text, but a line
}

// With every worker waiting for room in the queue that only they empty, nothing would ever move.
TEST_CASE("ThreadPool: a worker that fills its own queue does not wait for itself") {
  std::atomic<int> runs{0};
  std::atomic<pid_t> worker{0};
  std::atomic<bool> allQueued{false};
  ThreadPool pool;
  pool.setMaxQueueSize(1);
  pool.start(1);
  pool.run([&] {
    worker = gettid();
    for (int i = 0; i < 10; ++i)
      pool.run([&] { ++runs; });
    allQueued = true;
  });
  while (worker == 0)
    std::this_thread::yield();
  // Found asleep again and again, it waits for room.
  for (int looks = 0; !allQueued && looks < 100; ++looks)
    rung::testing::waitUntilAsleep(worker);
  CHECK(allQueued.load());
  pool.stop();  // lets go a worker that waits
  CHECK(runs.load() == 10);
}

// A worker that found the queue full ran the task at once, inside of the one that had given it. One
// that always gives the next nested until the stack ended.
TEST_CASE(
    "ThreadPool: a task that runs its successor does not nest, also while the queue is full") {
  constexpr int kSteps = 100'000;
  ThreadPool pool;
  pool.setMaxQueueSize(1);
  pool.start(1);
  int depth = 0;
  int deepest = 0;
  std::size_t longest = 0;
  int left = kSteps;
  std::latch done(1);
  std::function<void()> step = [&] {
    deepest = std::max(deepest, ++depth);
    if (--left > 0) {
      pool.run(step);
    } else {
      done.count_down();
    }
    longest = std::max(longest, pool.queueSize());
    --depth;
  };
  Plug plug;
  pool.run([&] { plug(); });
  plug.started.wait();
  pool.run(step);
  std::thread filler([&] {  // it keeps the queue full
    while (pool.run([] {})) {
    }
  });
  plug.release.count_down();
  done.wait();
  pool.stop();
  filler.join();
  CHECK(deepest == 1);
  CHECK(longest <= 2);  // the bound and one a worker
}

// Both joined the same threads.
TEST_CASE("ThreadPool: of two that stop at once, both return when it is done") {
  for (int i = 0; i < 20; ++i) {
    ThreadPool pool;
    pool.start(2);
    Plug plug;
    pool.run([&] { plug(); });
    plug.started.wait();
    std::atomic<bool> ran{false};
    pool.run([&] { ran = true; });
    const auto stop = [&] {
      pool.stop();
      CHECK(ran);
    };
    std::thread other(stop);
    std::thread releaser([&] { plug.release.count_down(); });
    stop();
    other.join();
    releaser.join();
  }
}

TEST_CASE("ThreadPool: what a finished task held is released before the worker waits again") {
  ThreadPool pool;
  pool.start(1);
  auto witness = std::make_shared<int>(0);
  pool.run([witness] {});
  std::latch done(1);
  pool.run([&] { done.count_down(); });
  done.wait();
  CHECK(witness.use_count() == 1);
}

TEST_CASE("ThreadPool: stopping it from one of its own workers aborts") {
  const auto child = runInChild([] {
    ThreadPool pool("sudoku");
    pool.start(1);
    std::latch done(1);
    pool.run([&] { pool.stop(), done.count_down(); });
    done.wait();
  });
  CHECK(child.aborted());
  CHECK(child.says("sudoku"));
}

TEST_CASE("ThreadPool: starting it twice aborts") {
  const auto child = runInChild([] {
    ThreadPool pool("again");
    pool.start(1);
    pool.start(1);
  });
  CHECK(child.aborted());
  CHECK(child.says("again"));
}

// There is nobody who would take the task later, and tryRun() does not run it on its caller.
TEST_CASE("ThreadPool: tryRun is refused without threads") {
  bool ran = false;
  ThreadPool withoutThreads;
  withoutThreads.start(0);
  CHECK_FALSE(withoutThreads.tryRun([&] { ran = true; }));
  CHECK_FALSE(ran);
}

TEST_CASE("ThreadPool: starting it after stop aborts") {
  const auto child = runInChild([] {
    ThreadPool pool("late");
    pool.stop();
    pool.start(1);
  });
  CHECK(child.aborted());
  CHECK(child.says("late"));
}

}  // namespace
