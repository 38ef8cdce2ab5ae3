// A loop whose rounds somebody else's loop calls for.

#include <doctest/doctest.h>
#include <poll.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "rung/net/EventLoop.h"
#include "rung/net/Mailbox.h"
#include "rung/net/TcpConnection.h"
#include "rung/net/TcpServer.h"

#include "tests/support/ChildProcess.h"
#include "tests/support/Client.h"
#include "tests/support/ServerThread.h"

using rung::EventLoop;
using rung::TcpServer;
using rung::testing::Client;
using rung::testing::echo;
using rung::testing::runInChild;

using namespace std::chrono_literals;

namespace {

/// Whether the host's poll(2) finds the loop's descriptor readable within `timeout`.
bool readable(EventLoop& loop, std::chrono::milliseconds timeout = 0ms) {
  pollfd entry{loop.pollFd(), POLLIN, 0};
  return ::poll(&entry, 1, static_cast<int>(timeout.count())) == 1;
}

/// The loop of a host: poll(2), and a round when it says so. It gives up after ten seconds. Returns
/// how many rounds it took.
int host(EventLoop& loop, const std::function<bool()>& done) {
  pollfd entry{loop.pollFd(), POLLIN, 0};
  int rounds = 0;
  while (!done()) {
    if (::poll(&entry, 1, 10'000) != 1) {
      FAIL_CHECK("the descriptor is not readable");
      break;
    }
    ++rounds;
    if (!loop.runOnce(0ms)) break;
  }
  return rounds;
}

TEST_CASE("EventLoop runOnce: one round, of tasks, timers and events") {
  EventLoop loop;
  std::string order;
  CHECK(loop.runOnce(0ms));
  loop.queueInLoop([&] {
    order += "a";
    loop.queueInLoop([&] { order += "b"; });
  });
  CHECK(order.empty());
  CHECK(loop.runOnce(1h));  // does not wait: there is a task
  CHECK(order == "a");
  CHECK(loop.runOnce(1h));
  CHECK(order == "ab");
  loop.runAfter(1ms, [&] { order += "t"; });
  CHECK(loop.runOnce(1h));
  CHECK(order == "abt");
  CHECK(loop.iteration() == 4);
}

TEST_CASE("EventLoop runOnce: waits for as long as it is told, and no longer") {
  EventLoop loop;
  const auto begin = std::chrono::steady_clock::now();
  CHECK(loop.runOnce(0ms));
  CHECK(loop.runOnce(-1h));
  CHECK(loop.runOnce(std::chrono::nanoseconds::min()));
  CHECK(loop.runOnce(1us));  // a millisecond, and not none: the caller would spin
  const auto waited = std::chrono::steady_clock::now() - begin;
  CHECK(waited >= 1us);
  CHECK(waited < 10s);
  CHECK(loop.runOnce(30ms));
  CHECK(std::chrono::steady_clock::now() - begin >= 30ms);
  loop.runAfter(1ms, [] {});
  CHECK(loop.runOnce(std::chrono::hours::max()));  // ended by the timer
}

TEST_CASE("EventLoop runOnce: false once after quit, with the tasks that were queued, then anew") {
  EventLoop loop;
  int runs = 0;
  loop.quit();
  loop.queueInLoop([&] {
    ++runs;
    loop.queueInLoop([&] { ++runs; });
  });
  CHECK_FALSE(loop.runOnce(1h));
  CHECK(runs == 1);
  CHECK(readable(loop));  // what that has queued
  CHECK(loop.runOnce(1h));
  CHECK(runs == 2);

  loop.queueInLoop([&] { loop.quit(); });
  loop.queueInLoop([&] { loop.queueInLoop([&] { ++runs; }); });
  CHECK_FALSE(loop.runOnce(1h));  // quit in the round itself
  CHECK(runs == 3);

  CHECK_FALSE(readable(loop));
  std::thread([&] { loop.quit(); }).join();
  CHECK(readable(loop));
  CHECK_FALSE(loop.runOnce(1h));
  CHECK_FALSE(readable(loop));
  loop.quit();
  CHECK(readable(loop));
  CHECK_FALSE(loop.runOnce(1h));
  loop.queueInLoop([&] { loop.quit(); });
  loop.loop();
}

TEST_CASE("EventLoop pollFd: readable while runOnce has something to do, and not otherwise") {
  EventLoop loop;
  loop.queueInLoop([] {});  // before anybody has asked for the descriptor
  CHECK(readable(loop));
  CHECK(readable(loop));
  CHECK(loop.runOnce(0ms));
  CHECK_FALSE(readable(loop));

  loop.queueInLoop([] {});  // on this thread, between two rounds
  CHECK(readable(loop));
  CHECK(loop.runOnce(0ms));
  CHECK_FALSE(readable(loop));

  std::thread([&] { loop.queueInLoop([] {}); }).join();
  CHECK(readable(loop));
  CHECK(loop.runOnce(0ms));
  CHECK_FALSE(readable(loop));

  loop.queueInLoop([&] { loop.queueInLoop([] {}); });  // in the round itself
  CHECK(loop.runOnce(0ms));
  CHECK(readable(loop));
  CHECK(loop.runOnce(0ms));
  CHECK_FALSE(readable(loop));

  loop.runAfter(5ms, [] {});
  CHECK_FALSE(readable(loop));
  CHECK(readable(loop, 10s));
  CHECK(loop.runOnce(0ms));
  CHECK_FALSE(readable(loop));
  const int fd = loop.pollFd();
  CHECK(loop.pollFd() == fd);
}

TEST_CASE("EventLoop runOnce: an echo server whose loop is carried by a poll(2) of the host") {
  EventLoop loop;
  TcpServer server(&loop, rung::InetAddress::loopback(0), "hosted");
  server.setThreadNum(1);
  server.setMessageCallback(echo);
  server.start();
  std::atomic<int> answered{0};
  std::vector<std::thread> clients;
  for (int t = 0; t < 4; ++t) {
    clients.emplace_back([&] {
      for (int i = 0; i < 25; ++i) {
        Client client(server.listenAddress());
        CHECK(client.send("hello"));
        CHECK(client.receive(5) == "hello");
        ++answered;
      }
    });
  }
  host(loop, [&] { return server.stats().accepted == 100; });
  for (std::thread& client : clients)
    client.join();
  CHECK(answered == 100);
  bool stopped = false;
  server.stop(10s, [&](auto) { stopped = true; });
  host(loop, [&] { return stopped; });
  CHECK(stopped);
}

// Each task is posted when the one before it has run, so each finds the loop between two rounds, or
// at the end of one. A wake-up that was lost would end the test after ten seconds.
TEST_CASE(
    "EventLoop runOnce: a thread that posts all the time: none is lost, none is run in vain") {
  EventLoop loop;
  constexpr int kPosts = 20'000;
  std::atomic<int> run{0};
  std::thread poster([&] {
    for (int i = 0; i < kPosts; ++i) {
      loop.queueInLoop([&] { ++run; });
      while (run <= i && i % 3 != 0)
        std::this_thread::yield();
    }
  });
  const int rounds = host(loop, [&] { return run == kPosts; });
  poster.join();
  CHECK(run == kPosts);
  CHECK(rounds <= kPosts + 1);  // no spinning: each round has found a task, but for the last one
  CHECK(loop.stats().tasksRun == kPosts);
  CHECK_FALSE(readable(loop));
}

TEST_CASE("EventLoop runOnce: a timer that repeats and a task that queues itself both go on") {
  EventLoop loop;
  int ticks = 0;
  int turns = 0;
  std::function<void()> again = [&] {
    if (++turns < 1000) loop.queueInLoop(again);
  };
  loop.runEvery(1ms, [&] { ++ticks; });
  loop.queueInLoop(again);
  host(loop, [&] { return turns == 1000 && ticks >= 5; });
  CHECK(turns == 1000);
}

TEST_CASE("EventLoop runOnce: does not count as running between two calls, and may be destroyed") {
  auto loop = std::make_unique<EventLoop>();
  bool looping = false;
  loop->queueInLoop([&] { looping = loop->mailbox()->looping(); });
  CHECK(loop->runOnce(0ms));
  CHECK(looping);
  CHECK_FALSE(loop->mailbox()->looping());
  const auto gone = std::make_shared<int>(1);
  loop->queueInLoop([gone] {});
  loop.reset();
  CHECK(gone.use_count() == 1);
  const EventLoop next;  // this thread may have another one
}

TEST_CASE("EventLoop runOnce: aborts in a callback, and on another thread") {
  const auto nested = runInChild([] {
    EventLoop loop;
    loop.queueInLoop([&] { (void)loop.runOnce(0ms); });
    (void)loop.runOnce(0ms);
  });
  CHECK(nested.aborted());
  const auto loopInRound = runInChild([] {
    EventLoop loop;
    loop.queueInLoop([&] { loop.loop(); });
    (void)loop.runOnce(0ms);
  });
  CHECK(loopInRound.aborted());
  const auto elsewhere = runInChild([] {
    EventLoop loop;
    std::thread([&] { (void)loop.runOnce(0ms); }).join();
  });
  CHECK(elsewhere.aborted());
}

// A quit() before the first pollFd() was never told, and the host waited for ever.
TEST_CASE("EventLoop pollFd: a quit that came before it is told as well") {
  EventLoop loop;
  bool ran = false;
  loop.queueInLoop([&] { ran = true; });
  loop.quit();
  pollfd watched{loop.pollFd(), POLLIN, 0};
  REQUIRE(poll(&watched, 1, 10'000) == 1);
  CHECK_FALSE(loop.runOnce(0ms));
  CHECK(ran);
}

TEST_CASE("EventLoop pollFd: poll(2) has none, which is said") {
  EventLoop loop(rung::PollerKind::poll);
  CHECK_THROWS_AS((void)loop.pollFd(), std::logic_error);
  bool ran = false;
  loop.queueInLoop([&] { ran = true; });
  CHECK(loop.runOnce(1h));  // the rounds themselves work
  CHECK(ran);
}

}  // namespace
