#include "rung/base/Thread.h"

#include <doctest/doctest.h>
#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <latch>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>

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

// No thread can wait for itself: pthread_join would answer EDEADLK, and std::thread would throw.
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

// start() still wrote to the object when the function had destroyed it: thread_ and started_.
TEST_CASE("Thread: the function may destroy it as soon as it runs") {
  for (int i = 0; i < 300; ++i) {
    std::atomic<Thread*> alive{nullptr};
    alive = new Thread([&] { delete alive.exchange(nullptr); });
    alive.load()->start();
    while (alive.load() != nullptr)
      std::this_thread::yield();
  }
}

std::set<int> blockedSignals() {
  sigset_t mask;
  pthread_sigmask(SIG_BLOCK, nullptr, &mask);
  std::set<int> blocked;
  for (int signal = 1; signal < SIGRTMIN; ++signal) {
    if (sigismember(&mask, signal) == 1) blocked.insert(signal);
  }
  return blocked;
}

// A SignalFd that was made after a thread lost its signals to that thread, which did not block them
// and died of them: SIGTERM killed the process, and log lines were lost.
TEST_CASE("Thread: begins with all signals blocked but those of faults") {
  const std::set<int> before = blockedSignals();
  REQUIRE(before.count(SIGTERM) == 0);
  std::set<int> inside;
  Thread thread([&] { inside = blockedSignals(); });
  thread.start();
  thread.join();
  for (int signal = 1; signal < 32; ++signal) {
    CAPTURE(signal);
    const bool never = signal == SIGKILL || signal == SIGSTOP;
    const bool fault = signal == SIGSEGV || signal == SIGBUS || signal == SIGFPE ||
                       signal == SIGILL || signal == SIGABRT || signal == SIGTRAP ||
                       signal == SIGSYS;
    CHECK(inside.count(signal) == (never || fault ? 0 : 1));
  }
  CHECK(blockedSignals() == before);
}

TEST_CASE(
    "Thread: without memory for it start throws, leaves the signals, and can be tried again") {
  const auto child = runInChild([] {
    pthread_attr_t normal;
    pthread_getattr_default_np(&normal);
    pthread_attr_t huge = normal;
    pthread_attr_setstacksize(&huge, std::size_t{1} << (sizeof(void*) == 8 ? 46 : 31));
    pthread_setattr_default_np(&huge);
    const std::set<int> before = blockedSignals();
    if (before.count(SIGTERM) != 0) _exit(5);
    bool ran = false;
    Thread thread([&] { ran = true; });
    try {
      thread.start();
      _exit(1);
    } catch (const std::system_error& e) {
      if (e.code().value() != EAGAIN || thread.started()) _exit(2);
    }
    if (blockedSignals() != before) _exit(3);
    pthread_setattr_default_np(&normal);
    thread.start();
    thread.join();
    _exit(ran ? 7 : 4);
  });
  CHECK_MESSAGE(child.exitedWith(7), child.output);
}

TEST_CASE("Thread: an exception ends the process with the name of the thread") {
  const auto child = runInChild([] {
    Thread thread([] { throw std::runtime_error("out of luck"); }, "worker-3");
    thread.start();
    thread.join();
  });
  CHECK(child.aborted());
  CHECK(child.says("worker-3"));
}

TEST_CASE("Thread: starting twice aborts with the name") {
  const auto child = runInChild([] {
    Thread thread([] {}, "worker");
    thread.start();
    thread.start();
  });
  CHECK(child.aborted());
  CHECK(child.says("worker"));
}

}  // namespace
