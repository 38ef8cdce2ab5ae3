#include "rung/base/Thread.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <latch>
#include <memory>
#include <stdexcept>

#include "rung/base/CurrentThread.h"

#include "tests/support/ChildProcess.h"

namespace CurrentThread = rung::CurrentThread;
using rung::Thread;
using rung::testing::runInChild;

namespace {

TEST_CASE("Thread: runs its function, and knows its tid when start returns") {
  pid_t inside = 0;
  Thread thread([&] { inside = gettid(); });
  CHECK_FALSE(thread.started());
  CHECK(thread.tid() == 0);
  thread.start();
  CHECK(thread.started());
  CHECK(thread.tid() > 0);
  thread.join();
  CHECK(inside == thread.tid());
  CHECK(inside != gettid());
}

TEST_CASE("Thread: has the name it was given, or one with a number") {
  std::string inside;
  Thread named([&] { inside = CurrentThread::name(); }, "compute");
  named.start();
  named.join();
  CHECK(inside == "compute");
  CHECK(named.name() == "compute");

  const int before = Thread::numCreated();
  const Thread unnamed([] {});
  CHECK(unnamed.name() == "thread-" + std::to_string(before + 1));
  CHECK(Thread::numCreated() == before + 1);
}

TEST_CASE("Thread: the destructor joins") {
  bool finished = false;
  {
    Thread thread([&] { finished = true; });
    thread.start();
  }
  CHECK(finished);
}

TEST_CASE("Thread: join without start, and twice") {
  Thread never([] {});
  never.join();
  Thread thread([] {});
  thread.start();
  thread.join();
  thread.join();
}

// Nobody can wait for himself: pthread_join would answer EDEADLK, and std::thread would throw.
TEST_CASE("Thread: destroyed by the thread itself it detaches, and the function runs to its end") {
  std::latch done(1);
  std::unique_ptr<Thread> thread;
  std::latch stored(1);
  thread = std::make_unique<Thread>([&] {
    stored.wait();
    thread.reset();
    done.count_down();
  });
  thread->start();
  stored.count_down();
  done.wait();
  CHECK(thread == nullptr);
}

TEST_CASE("Thread: an exception ends the process where it was thrown") {
  const auto child = runInChild([] {
    Thread thread([] { throw std::runtime_error("out of luck"); });
    thread.start();
    thread.join();
  });
  CHECK(child.aborted());
  CHECK(child.says("out of luck"));
}

TEST_CASE("Thread: starting twice aborts with the name") {
  const auto child = runInChild([] {
    Thread thread([] {}, "worker");
    thread.start();
    thread.start();
  });
  CHECK(child.aborted());
  CHECK(child.says("Thread worker started twice"));
}

}  // namespace
