// Timers that end with their connection.

#include <doctest/doctest.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>

#include "rung/net/EventLoop.h"
#include "rung/net/TcpConnection.h"

#include "tests/support/Allocations.h"
#include "tests/support/Alone.h"
#include "tests/support/ChildProcess.h"
#include "tests/support/OneConnection.h"
#include "tests/support/ServerThread.h"
#include "tests/support/Sockets.h"

using rung::CloseReason;
using rung::TcpConnectionPtr;
using rung::TimerId;
using rung::testing::Alone;
using rung::testing::eventually;
using rung::testing::NoMemory;
using rung::testing::OneConnection;
using rung::testing::runInChild;

using namespace std::chrono_literals;

namespace {

/// Goes round until `done`; gives up after ten seconds.
template <class Done>
void runUntil(rung::EventLoop& loop, Done done) {
  const TimerId limit = loop.runAfter(10s, [] { FAIL("it took ten seconds"); });
  while (!done())
    (void)loop.runOnce(10s);
  loop.cancel(limit);
}

TEST_CASE("TcpConnection timers: once, again and again, and not at all") {
  Alone f;
  std::string order;
  int ticks = 0;
  TimerId ticker;
  ticker = f.connection->runEvery(1ms, [&] {
    if (++ticks == 3) CHECK(f.connection->cancel(ticker));  // its own
  });
  f.connection->runAfter(0ms, [&] { order += "a"; });
  f.connection->runAfter(-1h, [&] { order += "b"; });
  const TimerId never = f.connection->runAfter(1ms, [&] { order += "never"; });
  CHECK(f.connection->cancel(never));
  CHECK_FALSE(f.connection->cancel(never));
  CHECK_FALSE(f.connection->cancel(TimerId()));
  CHECK_FALSE(f.loop.cancel(never));
  const TimerId after = f.connection->runAfter(20ms, [&] { order += "c"; });
  runUntil(f.loop, [&] { return order.size() >= 3 && ticks >= 3; });
  CHECK(order.find("never") == order.npos);
  CHECK(order.back() == 'c');
  CHECK(ticks == 3);
  CHECK_FALSE(f.connection->cancel(after));  // has run
  CHECK_FALSE(f.connection->cancel(ticker));
}

TEST_CASE("TcpConnection timers: one of the loop, or of another connection, is not its own") {
  Alone f;
  bool ran = false;
  const TimerId ofLoop = f.loop.runAfter(1ms, [&] { ran = true; });
  CHECK_FALSE(f.connection->cancel(ofLoop));
  runUntil(f.loop, [&] { return ran; });
}

TEST_CASE("TcpConnection timers: their captures go when the connection ends, hours before") {
  OneConnection f;
  const auto captured = std::make_shared<int>(0);
  f.inLoop([&] {
    // The reference to the connection itself keeps it no longer than it lives.
    f.connection->runAfter(1h, [captured, c = f.connection] { FAIL_CHECK("it is over"); });
    f.connection->runEvery(1h, [captured] { FAIL_CHECK("it is over"); });
  });
  CHECK(captured.use_count() == 3);
  f.client.close();
  CHECK(f.ended() == 0);
  CHECK(eventually([&] { return captured.use_count() == 1; }));
  CHECK(eventually([&] { return f.connection.use_count() == 1; }));
  f.inLoop([&] {
    CHECK_FALSE(f.connection->runAfter(1ms, [] { FAIL_CHECK("it is over"); }));
    CHECK_FALSE(f.connection->runEvery(1ms, [] { FAIL_CHECK("it is over"); }));
    CHECK_FALSE(f.connection->cancel(TimerId()));
  });
  // Harmless on any thread, as all calls on it.
  CHECK_FALSE(f.connection->runAfter(1ms, [] { FAIL_CHECK("it is over"); }));
  CHECK_FALSE(f.connection->cancel(TimerId()));
}

TEST_CASE("TcpConnection timers: one that is due in the same round does not run after the end") {
  OneConnection f;
  std::atomic<int> runs{0};
  std::atomic<bool> over{false};
  f.inLoop([&] {
    const TcpConnectionPtr& c = f.connection;
    c->runAfter(0ms, [&] {
      ++runs;
      f.server.ownership().reset();
    });
    c->runAfter(0ms, [&] { ++runs; });
    f.server.loop()->runAfter(1ms, [&] { over = true; });
  });
  CHECK(eventually([&] { return over.load(); }));
  CHECK(runs == 1);
}

// The list of the connection has its timer no more when the task has returned.
TEST_CASE("TcpConnection timers: the captures of a running task live until it returns, no longer") {
  for (const bool cancels : {true, false}) {
    CAPTURE(cancels);
    Alone f;
    auto captured = std::make_shared<int>(0);
    bool ran = false;
    TimerId id;
    id = f.connection->runEvery(1ms, [&ran, &f, &id, cancels, captured] {
      if (cancels) {
        CHECK(f.connection->cancel(id));
      } else {
        f.connection->connectDestroyed();
      }
      CHECK(captured.use_count() == 2);
      ran = true;
    });
    runUntil(f.loop, [&] { return ran; });
    CHECK(captured.use_count() == 1);
  }
}

TEST_CASE("TcpConnection timers: the task may end the connection, and add and cancel others") {
  OneConnection f;
  std::atomic<int> runs{0};
  const auto captured = std::make_shared<int>(0);
  f.inLoop([&] {
    const TcpConnectionPtr c = f.connection;
    const TimerId late = c->runAfter(1h, [captured] {});
    TimerId every;
    every = c->runEvery(1ms, [&runs, captured, c, late] {
      ++runs;
      CHECK(c->cancel(late));
      c->runAfter(1h, [captured] {});
      c->forceClose();
    });
  });
  CHECK(f.ended() == 0);
  CHECK(eventually([&] { return captured.use_count() == 1; }));
  CHECK(runs == 1);
  CHECK(f.connection->closeReason() == CloseReason::forced);
}

TEST_CASE("TcpConnection timers: a loop that is destroyed first destroys the captures") {
  const auto captured = std::make_shared<int>(0);
  rung::testing::SocketPair pair;
  TcpConnectionPtr connection;
  {
    rung::EventLoop loop;
    rung::ConnectionProfile profile;
    profile.loop = &loop;
    profile.mailbox = loop.mailbox();
    connection = std::make_shared<rung::TcpConnection>(
        std::make_shared<const rung::ConnectionProfile>(profile), 1,
        rung::Socket(std::move(pair.ours)), rung::InetAddress());
    CHECK_FALSE(connection->runAfter(1ms, [captured] {}));  // not up yet
    connection->connectEstablished();
    CHECK(connection->runAfter(1h, [captured] {}));
    CHECK(captured.use_count() == 2);
  }
  CHECK(captured.use_count() == 1);
  CHECK(connection->closeReason() == CloseReason::loopGone);
}

TEST_CASE("TcpConnection timers: without memory they throw, and change nothing") {
  Alone f;
  f.connection->setContext(1);  // so that the first memory is not that of the context
  const auto captured = std::make_shared<int>(0);
  int granted = 0;
  TimerId id;
  for (; !id && granted < 10; ++granted) {
    const NoMemory none(granted);
    try {
      id = f.connection->runAfter(1h, [captured] {});
    } catch (const std::bad_alloc&) {
    }
  }
  CHECK(id);
  CHECK(granted > 1);
  CHECK(captured.use_count() == 2);
  CHECK(f.connection->cancel(id));
  CHECK(captured.use_count() == 1);
  CHECK(f.connection->connected());
}

TEST_CASE("TcpConnection timers: bad_alloc in a task ends the connection") {
  OneConnection f;
  f.inLoop([&] { f.connection->runEvery(1ms, [] { throw std::bad_alloc(); }); });
  CHECK(f.ended() == ENOMEM);
  CHECK(f.connection->closeReason() == CloseReason::outOfMemory);
}

TEST_CASE("TcpConnection timers: bad intervals, empty tasks, wrong threads, other exceptions") {
  Alone f;
  CHECK_THROWS_AS(f.connection->runEvery(0ms, [] {}), std::invalid_argument);
  CHECK_THROWS_AS(f.connection->runEvery(-1s, [] {}), std::invalid_argument);
  f.connection->runEvery(std::chrono::hours::max(), [] {});
  const auto empty = runInChild([] {
    Alone alone;
    alone.connection->runAfter(1ms, nullptr);
  });
  CHECK(empty.aborted());
  CHECK(empty.says("timer"));
  const auto elsewhere = runInChild([] {
    Alone alone;
    std::thread([&] { alone.connection->runAfter(1ms, [] {}); }).join();
  });
  CHECK(elsewhere.aborted());
  CHECK(elsewhere.says("runAfter"));
  const auto thrown = runInChild([] {
    Alone alone;
    alone.connection->runAfter(0ms, [] { throw std::runtime_error("out of ideas"); });
    (void)alone.loop.runOnce(10s);
  });
  CHECK(thrown.aborted());
  CHECK(thrown.says("timer"));
  CHECK(thrown.says("-0.0.0.0:0#1"));
  CHECK(thrown.says("out of ideas"));
}

}  // namespace
