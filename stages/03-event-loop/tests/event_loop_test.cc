#include <doctest/doctest.h>
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <functional>
#include <latch>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "rung/net/EventLoop.h"
#include "rung/net/Mailbox.h"

#include "tests/support/Allocations.h"
#include "tests/support/Asleep.h"
#include "tests/support/ChildProcess.h"
#include "tests/support/Sockets.h"

using rung::Channel;
using rung::EventLoop;
using rung::Mailbox;
using rung::PollerKind;
using rung::Timestamp;
using rung::testing::NoMemory;
using rung::testing::put;
using rung::testing::runInChild;
using rung::testing::SocketPair;
using rung::testing::take;
using rung::testing::waitUntilAsleep;

namespace {

/// A loop on a thread of its own, for the tests of what other threads may do.
class LoopThread {
 public:
  LoopThread()
      : thread_([this] {
          EventLoop loop;
          loop_ = &loop;
          started_.count_down();
          loop.loop();
        }) {
    started_.wait();
  }
  ~LoopThread() { stop(); }
  void stop() {
    if (!thread_.joinable()) return;
    loop_->quit();
    thread_.join();
  }
  EventLoop* operator->() { return loop_; }
  EventLoop& operator*() { return *loop_; }

 private:
  std::latch started_{1};
  EventLoop* loop_ = nullptr;
  std::thread thread_;
};

// A flag that is not cleared ends the next loop() as soon as anybody posts to it.
TEST_CASE("EventLoop: a quit ends one loop, and not the next one, too") {
  EventLoop loop;
  loop.quit();
  loop.loop();
  bool secondRound = false;
  loop.queueInLoop([&] {
    loop.queueInLoop([&] {
      secondRound = true;
      loop.quit();
    });
  });
  loop.loop();
  CHECK(secondRound);
}

// muduo clears the flag when loop() begins, and then sleeps for ever.
TEST_CASE("EventLoop: quit before loop is not lost") {
  EventLoop loop;
  bool secondRound = false;
  loop.quit();
  loop.queueInLoop([&] {
    loop.queueInLoop([&] {
      secondRound = true;
      loop.quit();
    });
  });
  loop.loop();
  REQUIRE_FALSE(secondRound);
  for (int i = 0; i < 2; ++i) {  // with the task that is left, and with none
    loop.quit();
    loop.loop();
  }
  CHECK(loop.iteration() == 0);
}

TEST_CASE("EventLoop: can loop again after quit") {
  EventLoop loop;
  int runs = 0;
  for (int i = 0; i < 3; ++i) {
    loop.queueInLoop([&] { ++runs, loop.quit(); });
    loop.loop();
  }
  CHECK(runs == 3);
}

TEST_CASE("EventLoop: quit from a callback ends the loop after the batch at hand") {
  EventLoop loop;
  SocketPair first;
  SocketPair second;
  Channel a(&loop, first.ours.get());
  Channel b(&loop, second.ours.get());
  int calls = 0;
  a.setReadCallback([&](Timestamp) { ++calls, loop.quit(); });
  b.setReadCallback([&](Timestamp) { ++calls, loop.quit(); });
  a.enableReading();
  b.enableReading();
  put(first.theirs, "x");
  put(second.theirs, "x");
  loop.loop();
  CHECK(calls == 2);
  CHECK(loop.iteration() == 1);
  a.remove();
  b.remove();
}

TEST_CASE("EventLoop: quit from another thread wakes a loop that sleeps") {
  LoopThread loop;
  waitUntilAsleep(loop->mailbox()->threadId());
  loop.stop();  // would hang
}

// The flag is set, the loop ends and is destroyed, and quit() has still to write to its eventfd.
TEST_CASE("EventLoop: quit races with the end of the loop") {
  for (int i = 0; i < 200; ++i) {
    LoopThread loop;
    std::thread other([&] { loop->queueInLoop([&] { loop->wakeup(); }); });
    other.join();
    loop.stop();
  }
}

// In muduo the wake-up is left out for calls from the loop's own thread, and the task waits for the
// poll's timeout of ten seconds.
TEST_CASE("EventLoop: a task queued before loop runs in the first round") {
  EventLoop loop;
  std::uint64_t when = 99;
  loop.queueInLoop([&] { when = loop.iteration(), loop.quit(); });
  loop.loop();
  CHECK(when == 1);
  CHECK(loop.wakeups() == 0);
}

TEST_CASE("EventLoop: runInLoop is inline on the loop's thread, queueInLoop never is") {
  EventLoop loop;
  std::string order;
  loop.queueInLoop([&] {
    loop.queueInLoop([&] { order += 'q', loop.quit(); });
    loop.runInLoop([&] { order += 'r'; });
    order += '.';
  });
  loop.loop();
  CHECK(order == "r.q");
}

TEST_CASE("EventLoop: runInLoop from another thread runs on the loop's thread") {
  LoopThread loop;
  std::latch done(1);
  bool onLoop = false;
  loop->runInLoop([&] {
    onLoop = loop->isInLoopThread() && EventLoop::ofCurrentThread() == &*loop;
    done.count_down();
  });
  done.wait();
  CHECK(onLoop);
  CHECK_FALSE(loop->isInLoopThread());
}

// trantor runs tasks until none is left: one that queues itself then keeps I/O waiting for ever.
TEST_CASE("EventLoop: I/O goes on while a task keeps queueing itself") {
  EventLoop loop;
  SocketPair pair;
  Channel channel(&loop, pair.ours.get());
  int runs = 0;
  int reads = 0;
  std::function<void()> again = [&] {
    if (++runs == 10'000) return loop.quit();  // without a read in between
    put(pair.theirs, "x");
    loop.queueInLoop(again);
  };
  channel.setReadCallback([&](Timestamp) {
    take(channel.fd());
    if (++reads == 100) loop.quit();
  });
  channel.enableReading();
  loop.queueInLoop(again);
  loop.loop();
  CHECK(reads == 100);
  CHECK(runs <= 102);
  channel.remove();
}

TEST_CASE("EventLoop: what is queued at quit runs once; what that queues waits for the next loop") {
  EventLoop loop;
  std::string order;
  loop.queueInLoop([&] {
    loop.quit();
    loop.queueInLoop([&] {
      order += 'a';
      loop.queueInLoop([&] { order += 'b', loop.quit(); });
    });
  });
  loop.loop();
  REQUIRE(order == "a");
  loop.loop();
  CHECK(order == "ab");
}

TEST_CASE("EventLoop: quit from another thread runs what that thread queued before") {
  for (int i = 0; i < 100; ++i) {
    LoopThread loop;
    int ran = 0;
    for (int k = 0; k < 10; ++k)
      loop->queueInLoop([&] { ++ran; });
    loop.stop();
    CHECK(ran == 10);
  }
}

TEST_CASE("EventLoop: tasks left over are destroyed with the loop, on its thread, and do not run") {
  auto witness = std::make_shared<int>(0);
  {
    EventLoop loop;
    loop.queueInLoop([witness] { ++*witness; });
    CHECK(witness.use_count() == 2);
  }
  CHECK(witness.use_count() == 1);
  CHECK(*witness == 0);
}

TEST_CASE("EventLoop: what a task holds is released right after it has run") {
  EventLoop loop;
  auto witness = std::make_shared<int>(0);
  loop.queueInLoop([witness] {});
  loop.queueInLoop([&] {
    CHECK(witness.use_count() == 1);
    loop.quit();
  });
  loop.loop();
}

TEST_CASE("EventLoop: eight threads post a million tasks, none lost, each thread's in order") {
  constexpr int kThreads = 8;
  constexpr int kTasks = 125'000;
  LoopThread loop;
  std::vector<int> next(kThreads, 0);
  bool ordered = true;
  std::latch done(1);
  int left = kThreads * kTasks;
  std::vector<std::thread> posters;
  for (int t = 0; t < kThreads; ++t) {
    posters.emplace_back([&, t] {
      for (int i = 0; i < kTasks; ++i) {
        loop->queueInLoop([&, t, i] {
          int& expected = next[static_cast<std::size_t>(t)];
          ordered = ordered && expected == i;
          expected = i + 1;
          if (--left == 0) done.count_down();
        });
      }
    });
  }
  for (std::thread& poster : posters)
    poster.join();
  done.wait();
  loop.stop();
  CHECK(ordered);
  CHECK(next == std::vector<int>(kThreads, kTasks));
}

// A loop that is told of tasks which it has taken already does not sleep again.
TEST_CASE("Mailbox: when the tasks are taken, all of them, the loop may sleep") {
  EventLoop loop;
  Mailbox& mailbox = *loop.mailbox();
  std::vector<rung::Task> batch;
  CHECK_FALSE(mailbox.takeTasks(batch));
  std::string order;
  for (const char letter : {'a', 'b', 'c'})
    loop.queueInLoop([&order, letter] { order += letter; });
  CHECK(mailbox.waitingTasks() == 3);
  CHECK(mailbox.beforeWait() == Mailbox::Next::poll);
  CHECK(mailbox.takeTasks(batch));
  CHECK(mailbox.waitingTasks() == 0);
  CHECK(mailbox.beforeWait() == Mailbox::Next::wait);
  for (rung::Task& task : batch)
    task();
  CHECK(order == "abc");
  batch.clear();
  CHECK_FALSE(mailbox.takeTasks(batch));
  CHECK(batch.empty());
}

TEST_CASE("EventLoop: many posts cost one wake-up") {
  LoopThread loop;
  std::latch blocked(1);
  std::latch allPosted(1);
  std::latch done(1);
  std::uint64_t before = 0;
  std::uint64_t after = 0;
  loop->queueInLoop([&] {
    before = loop->wakeups();
    blocked.count_down();
    allPosted.wait();
  });
  blocked.wait();
  // The loop is awake and busy: it will look at its tasks, so no post needs to ring.
  for (int i = 0; i < 1000; ++i)
    loop->queueInLoop([] {});
  loop->queueInLoop([&] {
    after = loop->wakeups();
    done.count_down();
  });
  allPosted.count_down();
  done.wait();
  CHECK(after == before);
}

TEST_CASE("Mailbox: only the first post to a sleeping loop writes to the eventfd") {
  EventLoop loop;
  Mailbox& mailbox = *loop.mailbox();
  REQUIRE(mailbox.beforeWait() == Mailbox::Next::wait);  // as if it were asleep now
  for (int i = 0; i < 50; ++i)
    loop.queueInLoop([] {});
  CHECK(mailbox.drainWakeups() == 1);
  CHECK(mailbox.beforeWait() == Mailbox::Next::poll);
  for (int i = 0; i < 50; ++i)
    loop.queueInLoop([] {});
  CHECK(mailbox.drainWakeups() == 0);
}

// The loop reads the eventfd when it goes round: nothing else empties it.
TEST_CASE("EventLoop: wakeup makes a sleeping loop go round once") {
  LoopThread loop;
  pid_t tid = 0;
  const auto roundOfTask = [&] {
    std::uint64_t round = 0;
    std::latch done(1);
    loop->queueInLoop([&] {
      round = loop->iteration();
      tid = gettid();
      done.count_down();
    });
    done.wait();
    waitUntilAsleep(tid);
    return round;
  };
  const std::uint64_t before = roundOfTask();
  loop->wakeup();
  pollfd bell{loop->mailbox()->wakeupFd(), POLLIN, 0};
  while (poll(&bell, 1, 0) > 0)
    std::this_thread::yield();
  waitUntilAsleep(tid);
  CHECK(roundOfTask() == before + 2);
}

TEST_CASE("Mailbox: wakeup rings, whether the loop sleeps or not") {
  EventLoop loop;
  loop.wakeup();
  CHECK(loop.mailbox()->drainWakeups() == 1);
  REQUIRE(loop.mailbox()->beforeWait() == Mailbox::Next::wait);
  loop.wakeup();
  CHECK(loop.mailbox()->drainWakeups() == 1);
}

TEST_CASE("Mailbox: a quit from another thread is no wake-up, and is found when the bell is read") {
  EventLoop loop;
  Mailbox& mailbox = *loop.mailbox();
  std::thread([&] {
    loop.quit();
    loop.wakeup();
    loop.quit();
  }).join();
  CHECK(mailbox.beforeWait() == Mailbox::Next::wait);
  CHECK(mailbox.drainWakeups() == 1);
  CHECK(mailbox.beforeWait() == Mailbox::Next::quit);
}

/// Runs the loop with a task that queues itself until it has run `rounds` times, and then quits.
/// Returns how many times it ran.
int runChain(EventLoop& loop, int rounds) {
  int ran = 0;
  std::function<void()> step = [&] {
    if (++ran == rounds) {
      loop.quit();
    } else {
      loop.queueInLoop(step);
    }
  };
  loop.queueInLoop(step);
  loop.loop();
  return ran;
}

TEST_CASE("EventLoop: a quit from another thread ends the next loop, and not the one after it") {
  EventLoop loop;
  std::thread([&] { loop.quit(), loop.quit(); }).join();
  loop.loop();
  CHECK(runChain(loop, 5) == 5);
}

// What comes between the last look and the end is for the loop that ends.
TEST_CASE("EventLoop: a quit from another thread while the loop ends does not end the next one") {
  EventLoop loop;
  loop.quit();
  loop.queueInLoop([&] { std::thread([&] { loop.quit(); }).join(); });
  loop.loop();
  CHECK(runChain(loop, 5) == 5);
}

// Only a signal handler can come here: it interrupts the thread after its last look.
TEST_CASE("Mailbox: a quit on the loop's thread right before the wait rings") {
  EventLoop loop;
  REQUIRE(loop.mailbox()->beforeWait() == Mailbox::Next::wait);
  loop.quit();
  CHECK(loop.mailbox()->drainWakeups() == 1);
  CHECK(loop.mailbox()->beforeWait() == Mailbox::Next::quit);
}

// At its limit the counter refuses more; but then the loop is woken anyway.
TEST_CASE("Mailbox: an eventfd at its limit is no error, and leaves errno alone") {
  const auto child = runInChild([] {
    EventLoop loop;
    const std::uint64_t most = UINT64_MAX - 1;
    if (write(loop.mailbox()->wakeupFd(), &most, sizeof most) != sizeof most) _exit(1);
    errno = ENOENT;
    loop.wakeup();
    if (errno != ENOENT) _exit(2);
    (void)loop.mailbox()->drainWakeups();
    _exit(loop.mailbox()->drainWakeups() == 0 ? 7 : 3);
  });
  CHECK(child.exitedWith(7));
  CHECK(child.output == "");
}

// The first wait made room for what is ready; without memory loop() threw, and the process ended.
TEST_CASE("EventLoop: its first event needs no memory") {
  EventLoop loop;
  SocketPair pair;
  Channel channel(&loop, pair.ours.get());
  channel.setReadCallback([&](Timestamp) { loop.quit(); });
  channel.enableReading();
  REQUIRE(put(pair.theirs, "x"));
  {
    const NoMemory none;
    loop.loop();
  }
  channel.remove();
}

// The vectors of tasks kept the memory of the largest burst for good, 128 MiB after two millions.
TEST_CASE("EventLoop: after a burst of tasks their memory is given back") {
  constexpr std::size_t kBurst = 10'000;
  EventLoop loop;
  const auto runBatch = [&](std::size_t tasks) {
    for (std::size_t i = 1; i < tasks; ++i)
      loop.queueInLoop([] {});
    loop.queueInLoop([&] { loop.quit(); });
    loop.loop();
  };
  // The one of the two vectors that is in the Mailbox. It is not put back.
  const auto capacityOfNext = [&] {
    std::vector<rung::Task> tasks;
    loop.queueInLoop([] {});
    (void)loop.mailbox()->takeTasks(tasks);
    return tasks.capacity();
  };
  for (int i = 0; i < 4; ++i)
    runBatch(kBurst);
  SUBCASE("while bursts follow each other it is kept") {
    CHECK(capacityOfNext() >= kBurst);
  }
  SUBCASE("bursts that come again soon find it") {
    for (int i = 0; i < 60; ++i)
      runBatch(1);
    runBatch(kBurst);
    runBatch(kBurst);
    for (int i = 0; i < 60; ++i)
      runBatch(1);
    CHECK(capacityOfNext() >= kBurst);
  }
  SUBCASE("after many small batches it has gone") {
    for (int i = 0; i < 300; ++i)
      runBatch(1);
    CHECK(capacityOfNext() <= 1024);
    runBatch(1);
    CHECK(capacityOfNext() <= 1024);
  }
}

TEST_CASE("EventLoop: knows the loop of the calling thread") {
  static_assert(!std::is_convertible_v<PollerKind, EventLoop>);  // a kind alone is no loop
  CHECK(EventLoop::ofCurrentThread() == nullptr);
  {
    EventLoop loop;
    CHECK(EventLoop::ofCurrentThread() == &loop);
    std::thread([] { CHECK(EventLoop::ofCurrentThread() == nullptr); }).join();
  }
  CHECK(EventLoop::ofCurrentThread() == nullptr);
}

// muduo's destructor clears the thread-local pointer of whichever thread destroys the loop.
TEST_CASE("EventLoop: destroying a loop on another thread leaves that thread's own loop alone") {
  EventLoop mine;
  std::unique_ptr<EventLoop> theirs;
  std::latch created(1);
  std::latch destroyed(1);
  std::thread other([&] {
    theirs = std::make_unique<EventLoop>();
    created.count_down();
    destroyed.wait();
    CHECK(EventLoop::ofCurrentThread() == nullptr);
    const EventLoop second;  // the place is free again
    CHECK(EventLoop::ofCurrentThread() == &second);
  });
  created.wait();
  theirs.reset();
  CHECK(EventLoop::ofCurrentThread() == &mine);
  destroyed.count_down();
  other.join();
}

TEST_CASE("Mailbox: outlives its loop, refuses what comes too late, and drops it unrun") {
  auto witness = std::make_shared<int>(0);
  std::shared_ptr<Mailbox> mailbox;
  {
    EventLoop loop;
    mailbox = loop.mailbox();
    CHECK(mailbox->loop() == &loop);
  }
  CHECK(mailbox->loop() == nullptr);
  CHECK_FALSE(mailbox->post([witness] { ++*witness; }));
  CHECK(witness.use_count() == 1);
  CHECK(*witness == 0);
  mailbox->requestQuit();
  mailbox->wakeup();
}

/// Posts when it is destroyed, as the last owner of a connection may.
struct PostsAtEnd {
  PostsAtEnd(std::shared_ptr<Mailbox> box, bool* wasTaken)
      : mailbox(std::move(box)), taken(wasTaken) {}
  ~PostsAtEnd() {
    *taken = mailbox->post([] {});
  }
  PostsAtEnd(const PostsAtEnd&) = delete;
  PostsAtEnd& operator=(const PostsAtEnd&) = delete;
  std::shared_ptr<Mailbox> mailbox;
  bool* taken;
};

TEST_CASE("Mailbox: what unrun tasks own may post when the loop goes") {
  const auto child = runInChild([] {
    alarm(10);  // a deadlock: the tasks are destroyed with the mutex held
    bool taken = true;
    {
      EventLoop loop;
      loop.queueInLoop([p = std::make_unique<PostsAtEnd>(loop.mailbox(), &taken)] { (void)p; });
    }
    _exit(taken ? 1 : 7);
  });
  CHECK_MESSAGE(child.exitedWith(7), child.output);
}

TEST_CASE("EventLoop: two loops in one thread are refused") {
  const auto child = runInChild([] {
    const EventLoop first;
    const EventLoop second;
  });
  CHECK(child.aborted());
  CHECK(child.says("already"));
}

TEST_CASE("EventLoop: use from the wrong thread aborts and names both threads") {
  const auto child = runInChild([] {
    const auto writeNumber = [](const char* of) { std::fprintf(stderr, "%s%d\n", of, gettid()); };
    EventLoop loop;
    SocketPair pair;
    Channel channel(&loop, pair.ours.get());
    writeNumber("owner ");
    std::thread([&] {
      writeNumber("other ");
      channel.enableReading();
    }).join();
  });
  CHECK(child.aborted());
  const std::string& output = child.output;
  const auto number = [&output](const std::string& of) {
    const auto at = output.find(of) + of.size();
    return output.substr(at, output.find('\n', at) - at);
  };
  REQUIRE(child.says(" FATAL "));
  CHECK(output.find(number("owner "), output.find(" FATAL ")) != std::string::npos);
  CHECK(output.find(number("other "), output.find(" FATAL ")) != std::string::npos);
}

TEST_CASE("EventLoop: what belongs to the loop is read on its thread only") {
  using Read = void (*)(const EventLoop&, const Channel&);
  for (const Read read :
       {Read([](const EventLoop&loop, const Channel&) { (void)loop.pollReturnTime(); }),
        Read([](const EventLoop&loop, const Channel&) { (void)loop.iteration(); }),
        Read([](const EventLoop&loop, const Channel&) { (void)loop.wakeups(); }),
        Read([](const EventLoop&loop, const Channel&channel) {
          (void)loop.hasChannel(&channel);
        })}) {
    const auto child = runInChild([read] {
      EventLoop loop;
      const Channel channel(&loop, 0);
      std::thread([&] { read(loop, channel); }).join();
    });
    CHECK(child.aborted());
    CHECK(child.says("thread"));
  }
}

TEST_CASE("EventLoop: loop() from the wrong thread aborts") {
  const auto child = runInChild([] {
    EventLoop loop;
    std::thread([&] { loop.loop(); }).join();
  });
  CHECK(child.aborted());
  CHECK(child.says("thread"));
}

TEST_CASE("EventLoop: loop() within loop() aborts") {
  const auto child = runInChild([] {
    EventLoop loop;
    loop.queueInLoop([&] { loop.loop(); });
    loop.loop();
  });
  CHECK(child.aborted());
  CHECK(child.says("loop()"));
}

TEST_CASE("EventLoop: destroying it from one of its own callbacks aborts") {
  const auto child = runInChild([] {
    auto loop = std::make_unique<EventLoop>();
    loop->queueInLoop([&] { loop.reset(); });
    loop->loop();
  });
  CHECK(child.aborted());
  CHECK(child.says("destroyed"));
}

TEST_CASE("EventLoop: an empty task is refused where it is posted") {
  const auto child = runInChild([] {
    EventLoop loop;
    loop.queueInLoop(std::function<void()>());
  });
  CHECK(child.aborted());
  CHECK(child.says("empty task"));
  // On the loop's thread it was called, and that was a null pointer.
  const auto inLoop = runInChild([] {
    EventLoop loop;
    loop.runInLoop(nullptr);
  });
  CHECK(inLoop.aborted());
  CHECK(inLoop.says("empty task"));
}

TEST_CASE("EventLoop: an exception from a task ends the process") {
  const auto child = runInChild([] {
    EventLoop loop;
    loop.queueInLoop([] { throw std::runtime_error("task failed"); });
    loop.loop();
  });
  CHECK(child.aborted());
  CHECK(child.says("task failed"));
}

// poll(2) that finds nothing leaves errno as it was: then it says nothing of the call.
TEST_CASE("EventLoop: a look that finds nothing is no failure, whatever errno is") {
  for (const PollerKind kind : {PollerKind::epoll, PollerKind::poll}) {
    EventLoop loop(kind);
    int rounds = 0;
    std::function<void()> again = [&] {
      errno = EBADF;
      if (++rounds == 3) {
        loop.quit();
      } else {
        loop.queueInLoop(again);
      }
    };
    loop.queueInLoop(again);
    loop.loop();
    CHECK(rounds == 3);
  }
}

}  // namespace
