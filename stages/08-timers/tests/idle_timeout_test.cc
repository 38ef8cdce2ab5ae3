// TcpServer::setIdleTimeout. How the wheel counts, on simulated time: timing_wheel_test.cc.

#include <doctest/doctest.h>
#include <sys/socket.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <semaphore>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "rung/base/CountDownLatch.h"
#include "rung/net/EventLoop.h"

#include "tests/support/ChangeCallbacks.h"
#include "tests/support/ChildProcess.h"
#include "tests/support/Client.h"
#include "tests/support/Observed.h"
#include "tests/support/Process.h"
#include "tests/support/ServerThread.h"

using namespace std::chrono_literals;
using rung::CloseReason;
using rung::EventLoop;
using rung::InetAddress;
using rung::TcpConnectionPtr;
using rung::TcpServer;
using rung::testing::allowDescriptors;
using rung::testing::changeCallbacks;
using rung::testing::Client;
using rung::testing::echo;
using rung::testing::eventually;
using rung::testing::Observed;
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
  std::thread idle([&] {
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
  idle.join();
}

TEST_CASE("TcpServer idle timeout: without a message callback bytes count all the same") {
  const ServerThread server([](TcpServer& s) { s.setIdleTimeout(60ms, 10ms); });
  Client idle(server.address());
  Client active(server.address());
  std::atomic<bool> idleClosed{false};
  std::thread waiter([&] {
    CHECK(idle.receiveAll().empty());
    idleClosed = true;
  });
  while (!idleClosed)
    REQUIRE(active.send("x"));
  waiter.join();
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

/// Does `work` every 10 ms on the loop, `times` times. The loop that turns the wheel does it, so
/// that on a slow machine both are slow.
void onBeat(EventLoop* loop, int times, const std::function<void()>& work) {
  rung::CountDownLatch done(times);
  const rung::TimerId beat = loop->runEvery(10ms, [&] {
    work();
    done.countDown();
  });
  done.wait();
  ServerThread::runOn(loop, [&] { loop->cancel(beat); });
}

// What refreshed a connection was wrapped around the server's message callback. One that had its
// own was closed though it talked.
TEST_CASE("TcpServer idle timeout: who talks stays, whoever handles its messages") {
  Observed f([](TcpServer& s) { s.setIdleTimeout(80ms, 10ms); });
  const TcpConnectionPtr connection = f.connection();
  f.server.inLoop([&] {
    changeCallbacks(*connection, [](rung::ConnectionCallbacks& own) {
      own.message = [](const TcpConnectionPtr&, rung::Buffer& buffer, rung::Timestamp) {
        buffer.retrieveAll();
      };
    });
  });
  onBeat(f.server.loop(), 40, [&] { f.client.send("x"); });
  CHECK(f.downs == 0);
  CHECK(f.client.receiveAll().empty());
  CHECK(f.ended() == 0);
  CHECK(connection->closeReason() == CloseReason::idle);
}

// A push every 50 ms, read at once: whenever somebody looked, no output waited, and that was taken
// for silence.
TEST_CASE("TcpServer idle timeout: who is sent something now and then stays") {
  Observed f([](TcpServer& s) { s.setIdleTimeout(80ms, 10ms); });
  const TcpConnectionPtr connection = f.connection();
  onBeat(f.server.loop(), 40, [&] { connection->send("x"); });
  CHECK(f.downs == 0);
  CHECK(f.client.receiveAll().size() >= 40);
  CHECK(f.ended() == 0);
  CHECK(connection->closeReason() == CloseReason::idle);
}

// The kernel says "writable" only when much of its own buffer is free again. A peer that reads 16
// MiB slowly was cut between two of these.
TEST_CASE("TcpServer idle timeout: a peer that reads at a trickle stays, its window full") {
  Observed f([](TcpServer& s) { s.setIdleTimeout(150ms, 10ms); });
  const TcpConnectionPtr connection = f.connection();
  connection->send(std::string(16 << 20, 'x'));
  std::string piece(20'000, '\0');
  std::size_t left = 0;
  onBeat(f.server.loop(), 120, [&] {
    (void)recv(f.client.fd(), piece.data(), piece.size(), MSG_DONTWAIT);
    left = connection->outputBytes();
  });
  CHECK(f.downs == 0);
  CHECK(left > 8 << 20);
  CHECK(f.ended() == 0);
  CHECK(connection->closeReason() == CloseReason::idle);
  CHECK(connection->outputBytes() > 8 << 20);
}

// A queue that grew was taken for progress: 249 MiB waited for a peer that never read.
TEST_CASE("TcpServer idle timeout: a peer that never reads is closed, though one goes on sending") {
  Observed f([](TcpServer& s) { s.setIdleTimeout(80ms, 10ms); });
  const TcpConnectionPtr connection = f.connection();
  const rung::TimerId beat =
      f.server.loop()->runEvery(10ms, [&] { connection->send(std::string(100'000, 'x')); });
  CHECK(f.ended() == 0);
  CHECK(connection->closeReason() == CloseReason::idle);
  f.server.inLoop([&] { f.server.loop()->cancel(beat); });
}

// It waited for the server's own work, and the application could not say so.
TEST_CASE("TcpServer idle timeout: one that is held is not idle, until it is let go") {
  Observed f([](TcpServer& s) { s.setIdleTimeout(50ms, 10ms); });
  auto hold = f.connection()->hold();
  onBeat(f.server.loop(), 30, [] {});
  CHECK(f.downs == 0);
  const TcpConnectionPtr connection = hold.connection();
  hold.release();
  CHECK(f.ended() == 0);
  CHECK(connection->closeReason() == CloseReason::idle);
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

// "Never" killed the process at the first connection, for want of memory, where nothing may throw.
// A day, counted in milliseconds, took a gigabyte.
TEST_CASE("TcpServer idle timeout: more ticks than a wheel should have are refused, by name") {
  EventLoop loop;
  TcpServer server(&loop, InetAddress::loopback(0), "idle");
  CHECK_THROWS_AS(server.setIdleTimeout(std::chrono::hours::max()), std::invalid_argument);
  CHECK_THROWS_AS(server.setIdleTimeout(std::chrono::milliseconds::max(), 1ms),
                  std::invalid_argument);
  CHECK_THROWS_WITH_AS(server.setIdleTimeout(24h, 1ms),
                       doctest::Contains("86400000 ms with a tick of 1 ms"), std::invalid_argument);
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
  CHECK(child.says("TcpServer late: setIdleTimeout after start()"));
}

TEST_CASE("TcpServer idle timeout: off by default, 8 s when on, and never nothing") {
  EventLoop loop;
  TcpServer server(&loop, InetAddress::loopback(0), "idle");
  CHECK_THROWS_WITH_AS(server.setIdleTimeout(0ms),
                       "a timeout of 0 ms with a tick of 1000 ms: both must be more than zero",
                       std::invalid_argument);
  CHECK_THROWS_AS(server.setIdleTimeout(1s, 0ms), std::invalid_argument);
  server.setIdleTimeout();
}

}  // namespace
