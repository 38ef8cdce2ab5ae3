// TcpServer::setIdleTimeout. How the wheel counts, on simulated time: timing_wheel_test.cc.

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <semaphore>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "rung/base/CountDownLatch.h"
#include "rung/net/EventLoop.h"

#include "tests/support/ChildProcess.h"
#include "tests/support/Client.h"
#include "tests/support/Process.h"
#include "tests/support/ServerThread.h"
#include "tests/support/UnluckyNewcomer.h"

using namespace std::chrono_literals;
using doctest::Contains;
using rung::CountDownLatch;
using rung::EventLoop;
using rung::InetAddress;
using rung::TcpConnectionPtr;
using rung::TcpServer;
using rung::testing::allowDescriptors;
using rung::testing::checkUnluckyNewcomer;
using rung::testing::Client;
using rung::testing::echo;
using rung::testing::eventually;
using rung::testing::runInChild;
using rung::testing::ServerThread;

namespace {

using Clock = std::chrono::steady_clock;

TEST_CASE("TcpServer idle timeout: who says nothing is closed, and not too early") {
  for (const int threads : {0, 2}) {
    CAPTURE(threads);
    const ServerThread server(
        [](TcpServer& s) {
          s.setIdleTimeout(80ms, 10ms);
          s.setMessageCallback(echo);
        },
        threads);
    const auto before = Clock::now();
    Client client(server.address());
    client.send("x");
    CHECK(client.receiveAll() == "x");
    CHECK(client.lastError() == 0);
    CHECK(Clock::now() - before >= 80ms);
  }
}

TEST_CASE("TcpServer idle timeout: who talks stays, while another is closed") {
  const ServerThread server([](TcpServer& s) {
    s.setIdleTimeout(60ms, 10ms);
    s.setMessageCallback(echo);
  });
  Client active(server.address());
  std::atomic<bool> idleClosed{false};
  const std::jthread idle([&] {
    for (int i = 0; i < 3; ++i) {  // three time-outs long
      Client client(server.address());
      CHECK(client.receiveAll().empty());
    }
    idleClosed = true;
  });
  while (!idleClosed) {
    REQUIRE(active.send("x"));
    REQUIRE(active.receive(1) == "x");
  }
}

TEST_CASE("TcpServer idle timeout: without a message callback bytes count all the same") {
  const ServerThread server([](TcpServer& s) { s.setIdleTimeout(60ms, 10ms); });
  Client idle(server.address());
  Client active(server.address());
  std::atomic<bool> idleClosed{false};
  const std::jthread waiter([&] {
    CHECK(idle.receiveAll().empty());
    idleClosed = true;
  });
  while (!idleClosed)
    REQUIRE(active.send("x"));
}

// A peer that takes a long download sends nothing meanwhile. It is not idle.
TEST_CASE("TcpServer idle timeout: a slow reader stays as long as it reads") {
  constexpr std::size_t kBytes = 6 << 20;
  ServerThread server([](TcpServer& s) {
    s.setIdleTimeout(100ms, 10ms);
    s.setConnectionCallback([](const TcpConnectionPtr& c) {
      if (c->connected()) c->send(std::string(kBytes, 'x'));
    });
  });
  std::counting_semaphore<> beat(0);
  const rung::TimerId pace = server.loop()->runEvery(10ms, [&] { beat.release(); });
  Client client(server.address(), 1 << 16);
  const auto before = Clock::now();
  std::size_t got = 0;
  while (got < kBytes) {
    beat.acquire();
    const std::size_t piece = client.receive(128 << 10).size();
    if (piece == 0) break;
    got += piece;
  }
  CHECK(got == kBytes);
  CHECK(Clock::now() - before > 200ms);  // longer than twice the time-out
  server.loop()->cancel(pace);
}

TEST_CASE("TcpServer idle timeout: a peer that neither reads nor sends is closed, output or not") {
  std::promise<void> down;
  const ServerThread server([&](TcpServer& s) {
    s.setIdleTimeout(60ms, 10ms);
    s.setConnectionCallback([&](const TcpConnectionPtr& c) {
      c->connected() ? static_cast<void>(c->send(std::string(20 << 20, 'x'))) : down.set_value();
    });
  });
  Client client(server.address(), 1 << 16);
  CHECK(down.get_future().wait_for(10s) == std::future_status::ready);
}

TEST_CASE("TcpServer idle timeout: hundreds of idle connections all go") {
  constexpr int kMany = 400;
  if (!allowDescriptors(2 * kMany + 100)) {
    MESSAGE("skipped: this process may not have " << 2 * kMany + 100 << " descriptors");
    return;
  }
  ServerThread server([](TcpServer& s) { s.setIdleTimeout(200ms, 20ms); }, 2);
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < kMany; ++i) {
    clients.push_back(std::make_unique<Client>(server.address()));
    REQUIRE(clients.back()->connected());
  }
  for (auto& client : clients)
    CHECK(client->receiveAll().empty());
  CHECK(eventually([&] { return server.server().connectionCount() == 0; }));
}

TEST_CASE("TcpServer idle timeout: the server is destroyed by the callback of an idle connection") {
  ServerThread* self = nullptr;
  ServerThread server([&](TcpServer& s) {
    s.setIdleTimeout(30ms, 10ms);
    s.setConnectionCallback([&](const TcpConnectionPtr& c) {
      if (!c->connected()) self->ownership().reset();
    });
  });
  self = &server;
  Client first(server.address());
  Client second(server.address());
  CHECK(first.receiveAll().empty());
  CHECK(second.receiveAll().empty());
}

// A connection is made, and finds no memory for its place among the others, or in the wheel, which
// asks for some twice.
TEST_CASE("TcpServer idle timeout: a newcomer that the wheel has no memory for is closed") {
  for (const int granted : {1, 2, 3})
    checkUnluckyNewcomer(granted,
                         [](TcpServer& s) { s.setIdleTimeout(24h, 1h); });  // without a tick
}

TEST_CASE("TcpServer idle timeout: when the server is gone, its loop hears of no more ticks") {
  ServerThread server([](TcpServer& s) { s.setIdleTimeout(1s, 1ms); });
  const auto waitInLoop = [&](std::chrono::milliseconds time) {
    CountDownLatch over(1);
    server.loop()->runAfter(time, [&] { over.countDown(); });
    over.wait();
  };
  const auto rounds = [&] {
    std::uint64_t count = 0;
    server.inLoop([&] { count = server.loop()->iteration(); });
    return count;
  };
  server.destroyServer();
  waitInLoop(5ms);  // the last tick, which finds nobody
  const std::uint64_t before = rounds();
  waitInLoop(50ms);
  CHECK(rounds() - before < 10);
}

// "Never" killed the process at the first connection, for want of memory, where nothing may throw.
// A day, counted in milliseconds, took a gigabyte.
TEST_CASE("TcpServer idle timeout: more ticks than a wheel should have are refused, by name") {
  EventLoop loop;
  TcpServer server(&loop, InetAddress::loopback(0), "idle");
  CHECK_THROWS_AS(server.setIdleTimeout(std::chrono::hours::max()), std::invalid_argument);
  CHECK_THROWS_AS(server.setIdleTimeout(std::chrono::milliseconds::max(), 1ms),
                  std::invalid_argument);
  for (const char* time : {"86400000 ms", " 1 ms"})
    CHECK_THROWS_WITH_AS(server.setIdleTimeout(24h, 1ms), Contains(time), std::invalid_argument);
  server.setIdleTimeout(24h);
  server.start();
  CHECK(Client(server.listenAddress()).connected());
}

TEST_CASE("TcpServer idle timeout: set after start it aborts") {
  const auto child = runInChild([] {
    EventLoop loop;
    TcpServer server(&loop, InetAddress::loopback(0), "late");
    server.start();
    server.setIdleTimeout();
  });
  CHECK(child.aborted());
  CHECK(child.says("setIdleTimeout"));
}

TEST_CASE("TcpServer idle timeout: off by default, 8 s when on, and never nothing") {
  EventLoop loop;
  TcpServer server(&loop, InetAddress::loopback(0), "idle");
  for (const char* time : {"0 ms", "1000 ms"})
    CHECK_THROWS_WITH_AS(server.setIdleTimeout(0ms), Contains(time), std::invalid_argument);
  CHECK_THROWS_AS(server.setIdleTimeout(1s, 0ms), std::invalid_argument);
  server.setIdleTimeout();
}

}  // namespace
