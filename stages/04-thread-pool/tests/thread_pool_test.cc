#include <doctest/doctest.h>

#include <atomic>
#include <future>
#include <latch>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>

#include "rung/base/CurrentThread.h"
#include "rung/base/Logging.h"
#include "rung/base/ThreadPool.h"

#include "tests/support/Asleep.h"
#include "tests/support/ChildProcess.h"

using rung::Mutex;
using rung::MutexLock;
using rung::Task;
using rung::ThreadPool;
using rung::testing::runInChild;

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

TEST_CASE("ThreadPool: before start and after stop tasks are refused, and destroyed unrun") {
  ThreadPool pool;
  auto witness = std::make_shared<int>(0);
  CHECK_FALSE(pool.run([witness] { ++*witness; }));
  pool.start(1);
  CHECK(pool.run([witness] { ++*witness; }));
  pool.stop();
  CHECK_FALSE(pool.run([witness] { ++*witness; }));
  CHECK(*witness == 1);
  CHECK(witness.use_count() == 1);
  CHECK(pool.stop() == 0);  // twice is fine
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
  CHECK(child.says("a task of ThreadPool sudoku threw: no solution"));
  CHECK(child.says("a task of ThreadPool sudoku threw something unknown"));
}

// With every worker waiting for room in the queue that only they empty, nothing would ever move.
TEST_CASE("ThreadPool: a worker that fills its own queue does not wait for itself") {
  std::atomic<int> runs{0};
  ThreadPool pool;
  pool.setMaxQueueSize(1);
  pool.start(1);
  std::latch done(1);
  pool.run([&] {
    for (int i = 0; i < 10; ++i)
      pool.run([&] { ++runs; });
    done.count_down();
  });
  done.wait();
  pool.stop();
  CHECK(runs == 10);
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
    ThreadPool pool("self");
    pool.start(1);
    std::latch done(1);
    pool.run([&] { pool.stop(), done.count_down(); });
    done.wait();
  });
  CHECK(child.aborted());
  CHECK(child.says("ThreadPool self stopped by one of its own workers"));
}

TEST_CASE("ThreadPool: starting it twice aborts") {
  const auto child = runInChild([] {
    ThreadPool pool("again");
    pool.start(1);
    pool.start(1);
  });
  CHECK(child.aborted());
  CHECK(child.says("ThreadPool again started twice"));
}

// There is nobody who would take the task later, and tryRun() does not run it on its caller.
TEST_CASE("ThreadPool: tryRun is refused before start, after stop and without threads") {
  bool ran = false;
  ThreadPool pool;
  CHECK_FALSE(pool.tryRun([&] { ran = true; }));
  pool.start(1);
  pool.stop();
  CHECK_FALSE(pool.tryRun([&] { ran = true; }));
  ThreadPool withoutThreads;
  withoutThreads.start(0);
  CHECK_FALSE(withoutThreads.tryRun([&] { ran = true; }));
  CHECK_FALSE(ran);
}

}  // namespace
