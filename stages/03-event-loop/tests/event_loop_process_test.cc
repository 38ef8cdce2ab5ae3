// A loop and the process around it: signal handlers, fork(2), and the end of main().

#include <doctest/doctest.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <memory>
#include <thread>

#include "rung/net/EventLoop.h"
#include "rung/net/Mailbox.h"

#include "tests/support/Asleep.h"
#include "tests/support/ChildProcess.h"

using rung::EventLoop;
using rung::Mailbox;
using rung::testing::runInChild;
using rung::testing::waitUntilAsleep;

namespace {

EventLoop* loopOfHandler = nullptr;

void quitHandler(int) {
  loopOfHandler->wakeup();
  loopOfHandler->quit();
}

/// Raises a signal when it is moved: in Mailbox::post() that is with the mutex held.
struct RaisesWhenMoved {
  explicit RaisesWhenMoved(const bool* isArmed) : armed(isArmed) {}
  RaisesWhenMoved(RaisesWhenMoved&& other) noexcept : armed(other.armed) {
    if (*armed) (void)raise(SIGUSR1);
  }
  RaisesWhenMoved& operator=(RaisesWhenMoved&&) = delete;
  ~RaisesWhenMoved() = default;
  void operator()() const {}
  const bool* armed;
};

/// Runs `post` in a child process where SIGUSR1 means quit() of `loop`, then the loop.
template <class Post>
rung::testing::ChildResult runWithHandler(Post post) {
  return runInChild([&] {
    alarm(10);  // a deadlock
    EventLoop loop;
    loopOfHandler = &loop;
    std::signal(SIGUSR1, quitHandler);
    post(loop);
    loop.loop();
    _exit(7);
  });
}

// quit() and wakeup() took the mutex of the Mailbox. The handler interrupted a thread that held it,
// and waited for itself.
TEST_CASE("EventLoop: quit and wakeup in a signal handler do not wait for the thread they stop") {
  const auto postRaising = [](EventLoop& loop) {
    static bool armed = false;  // the loop moves the task once more, to destroy it
    rung::Task task(RaisesWhenMoved{&armed});
    armed = true;
    (void)loop.mailbox()->post(std::move(task));
    armed = false;
  };
  SUBCASE("on the loop's thread") {
    const auto child = runWithHandler(postRaising);
    CHECK_MESSAGE(child.exitedWith(7), child.output);
  }
  SUBCASE("on another one") {
    const auto child =
        runWithHandler([&](EventLoop& loop) { std::thread([&] { postRaising(loop); }).join(); });
    CHECK_MESSAGE(child.exitedWith(7), child.output);
  }
}

TEST_CASE("EventLoop: a signal handler ends a loop that sleeps, on whichever thread it runs") {
  for (const bool onLoopThread : {true, false}) {
    CAPTURE(onLoopThread);
    const auto child = runWithHandler([&](EventLoop&) {
      std::thread([onLoopThread, loopThread = pthread_self(), sleeper = gettid()] {
        waitUntilAsleep(sleeper);
        (void)pthread_kill(onLoopThread ? loopThread : pthread_self(), SIGUSR1);
      }).detach();
    });
    CHECK_MESSAGE(child.exitedWith(7), child.output);
  }
}

/// Ends the process when static objects are destroyed: with 7 if nobody else refers to a Mailbox.
struct LastOwner {
  ~LastOwner() {
    if (mailbox.use_count() != 1) _exit(1);
    EventLoop another;  // a thread may make a loop at any time
    another.quit();
    another.loop();
    _exit(7);
  }
  std::shared_ptr<Mailbox> mailbox;
};

// The thread's reference to the Mailbox was a thread_local shared_ptr. At exit those are destroyed
// before static objects, and the loop's destructor released it once more.
TEST_CASE("EventLoop: one with static storage outlives the variables of its thread") {
  const auto child = runInChild([] {
    static LastOwner lastOwner;
    static EventLoop loop;
    lastOwner.mailbox = loop.mailbox();
    loop.queueInLoop([] { loop.quit(); });
    loop.loop();
    std::exit(1);
  });
  CHECK_MESSAGE(child.exitedWith(7), child.output);
}

TEST_CASE("EventLoop: in a forked child the parent's loop aborts and says why") {
  EventLoop loop;
  const auto child = runInChild([&] { loop.loop(); });
  CHECK(child.aborted());
  CHECK(child.says("fork"));
  const auto thread = runInChild([] {
    EventLoop mine;
    std::thread([&] { (void)mine.iteration(); }).join();
  });
  CHECK(thread.aborted());
  CHECK_FALSE(thread.says("fork"));
}

// "has an EventLoop already", which was its parent's.
TEST_CASE("EventLoop: a forked child can make a loop of its own, and destroy the parent's") {
  auto loop = std::make_unique<EventLoop>();
  const auto child = runInChild([&] {
    CHECK(EventLoop::ofCurrentThread() == nullptr);
    EventLoop mine;
    loop.reset();
    if (EventLoop::ofCurrentThread() != &mine) return;
    mine.queueInLoop([&] { mine.quit(); });
    mine.loop();
    _exit(7);
  });
  CHECK_MESSAGE(child.exitedWith(7), child.output);
  CHECK(EventLoop::ofCurrentThread() == loop.get());
}

// Both processes have the same eventfd.
TEST_CASE("EventLoop: quit in a forked child does not end the parent's loop") {
  EventLoop loop;
  const auto child = runInChild([&] { loop.quit(); });
  CHECK(child.exitedWith(0));
  CHECK(loop.mailbox()->drainWakeups() == 0);
  CHECK(loop.mailbox()->beforeWait() == Mailbox::Next::wait);
}

}  // namespace
