// A client's connection, how it comes back, and what it says of each attempt.

#include <doctest/doctest.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "rung/net/Buffer.h"
#include "rung/net/TcpClient.h"
#include "rung/net/TcpConnection.h"

#include "tests/support/ChildProcess.h"
#include "tests/support/Client.h"
#include "tests/support/ClientThread.h"
#include "tests/support/FakeLookup.h"
#include "tests/support/Listener.h"
#include "tests/support/LogTrap.h"
#include "tests/support/ServerThread.h"
#include "tests/support/TempDirectory.h"

using rung::Buffer;
using rung::CloseReason;
using rung::ConnectFailure;
using rung::ConnectStep;
using rung::EventLoop;
using rung::InetAddress;
using rung::Target;
using rung::TcpClient;
using rung::TcpConnectionPtr;
using rung::Timestamp;
using rung::UnixAddress;
using rung::testing::ClientThread;
using rung::testing::DeafListener;
using rung::testing::echo;
using rung::testing::eventually;
using rung::testing::FakeLookup;
using rung::testing::freeAddress;
using rung::testing::Listener;
using rung::testing::nobody;
using rung::testing::pattern;
using rung::testing::runInChild;
using rung::testing::ServerThread;

using namespace std::chrono_literals;

namespace {

/// Comes back at once, as tests want it.
TcpClient::Options eager() {
  return {.reconnect = rung::Backoff::Options{.initial = 1ms, .cap = 1ms, .seed = 1}};
}

TEST_CASE("TcpClient: sends and receives as any TcpConnection, and sends all before it leaves") {
  ServerThread server([](auto& s) { s.setMessageCallback(echo); });
  const std::string text = pattern(3 << 20);
  std::string received;
  ClientThread client(server.address(), {}, [&](TcpClient& c) {
    c.setMessageCallback([&](const TcpConnectionPtr& connection, Buffer& buffer, Timestamp) {
      received += buffer.view();
      buffer.retrieveAll();
      if (received.size() == text.size()) connection->shutdown();
    });
  });
  client->connect();
  const TcpConnectionPtr connection = client.up();
  CHECK(connection == client->connection());
  CHECK(connection->peerAddress() == server.address());
  CHECK(connection->name() == "client-" + server.address().toIpPort() + "#1");
  CHECK(connection->send(text));  // from another thread
  CHECK(client.down() == CloseReason::local);
  CHECK(received == text);
  CHECK(eventually([&] { return client->connection() == nullptr; }));
}

TEST_CASE("TcpClient: all callbacks of a TcpServer") {
  Listener listener;
  std::atomic<int> complete{0}, high{0}, low{0}, halfClose{0}, drain{0};
  ClientThread client(listener.address(), {}, [&](TcpClient& c) {
    c.setLimits({.highWaterMark = 1 << 16, .lowWaterMark = 1 << 15});
    c.setWriteCompleteCallback([&](auto&) { ++complete; });
    c.setHighWaterMarkCallback([&](auto&, std::size_t) { ++high; });
    c.setLowWaterMarkCallback([&](auto&, std::size_t) { ++low; });
    c.setHalfCloseCallback([&](auto&) { ++halfClose; });
    c.setDrainCallback([&](const TcpConnectionPtr& connection) {
      ++drain;
      connection->shutdown();
    });
  });
  client->connect();
  const auto connection = client.up();
  const rung::UniqueFd peer = listener.accept();
  const std::size_t much = 16 << 20;
  CHECK(connection->send(std::string(much, 'x')));
  CHECK(eventually([&] { return high == 1; }));
  std::string buffer(1 << 20, '\0');
  std::size_t got = 0;
  while (got < much) {
    const ssize_t n = recv(peer.get(), buffer.data(), buffer.size(), 0);
    REQUIRE(n > 0);
    got += static_cast<std::size_t>(n);
  }
  CHECK(eventually([&] { return low == 1 && complete == 1; }));
  shutdown(peer.get(), SHUT_WR);
  CHECK(eventually([&] { return halfClose == 1; }));
  CHECK(connection->connected());
  std::atomic<bool> drained{false};
  client->stop(10s, [&](bool d) { drained = d; });
  CHECK(eventually([&] { return drained.load(); }));
  CHECK(drain == 1);
  CHECK(client.down() == CloseReason::peer);
}

TEST_CASE("TcpClient: Unix-domain sockets") {
  rung::testing::TempDirectory directory;
  for (const UnixAddress& address :
       {UnixAddress(directory / "s"), UnixAddress("@rung-client-" + std::to_string(getpid()))}) {
    ServerThread server([](auto& s) { s.setMessageCallback(echo); }, 0, address);
    ClientThread client(address);
    client->connect();
    CHECK(client.up()->peerAddress().isUnix());
    client->disconnect();
    CHECK(client.down() == CloseReason::local);
  }
}

// muduo #158: a client heard nothing when it could not connect.
TEST_CASE("TcpClient: an attempt that fails is told, and is the last one without reconnecting") {
  const InetAddress address = nobody();
  ClientThread client(address);
  client->connect();
  const auto [failure, retryIn] = client.failure();
  CHECK(failure.step == ConnectStep::connect);
  CHECK(failure.error == std::error_code(ECONNREFUSED, std::generic_category()));
  CHECK(failure.toText() == "connect to " + address.toIpPort() + ": Connection refused");
  CHECK(!retryIn);
  CHECK(client->connection() == nullptr);
  // connect() begins anew.
  client->connect();
  CHECK(client.failure().failure.step == ConnectStep::connect);
  CHECK(client.failures() == 0);
}

TEST_CASE("TcpClient: the time is over: ETIMEDOUT, and the step") {
  FakeLookup fake;
  ClientThread client(Target("host", 80), {.attempt{.timeout = 20ms, .resolver = fake.resolver()}});
  client->connect();
  const auto failure = client.failure().failure;
  CHECK(failure.step == ConnectStep::deadline);
  CHECK(failure.error == std::error_code(ETIMEDOUT, std::generic_category()));
}

TEST_CASE("TcpClient reconnect: tries until the server is there, and again when it is gone") {
  const InetAddress address = freeAddress();
  ClientThread client(address, eager());
  client->connect();
  for (int i = 0; i < 3; ++i) {
    const auto retryIn = client.failure().retryIn;
    REQUIRE(retryIn);
    CHECK(*retryIn >= 0ns);
    CHECK(*retryIn <= 1ms);
  }
  for (int round = 0; round < 2; ++round) {
    Listener listener(address, 128);
    const auto connection = client.up();
    CHECK(connection->id() == static_cast<std::uint64_t>(round) + 1);
    { const rung::UniqueFd peer = listener.accept(); }
    CHECK(client.down() == CloseReason::peer);
    listener.close();
    // The kernel may have taken one more meanwhile, which is reset.
    while (!client.failures()) {
      if (client.ups() > 0) {
        (void)client.up();
        (void)client.down();
      }
      std::this_thread::yield();
    }
  }
}

TEST_CASE(
    "TcpClient reconnect: the waits grow while connections do not last, as those of Backoff") {
  const rung::Backoff::Options options{.initial = 1ms, .cap = 16ms, .stableAfter = 1h, .seed = 5};
  rung::Backoff expected(options);
  const InetAddress address = freeAddress();
  std::optional<Listener> listener;
  ClientThread client(address, {.reconnect = options});
  client->connect();
  for (int i = 0; i < 3; ++i)
    CHECK(client.failure().retryIn == expected.next());
  listener.emplace(address, 128);
  while (client.failures() > 0 || client.ups() == 0) {
    if (client.failures() > 0) CHECK(client.failure().retryIn == expected.next());
  }
  // It was up, but not for long: the series goes on.
  (void)client.up();
  listener.reset();
  (void)client.down();
  (void)expected.next();
  CHECK(client.failure().retryIn == expected.next());
}

TEST_CASE("TcpClient reconnect: a connection that lasted ends the series") {
  const rung::Backoff::Options options{.initial = 1ms, .cap = 1h, .stableAfter = 0ms, .seed = 5};
  Listener listener;
  ClientThread client(listener.address(), {.reconnect = options});
  client->connect();
  // Would wait for minutes by now, were it not for that.
  for (int i = 0; i < 25; ++i) {
    (void)client.up();
    { const rung::UniqueFd peer = listener.accept(); }
    (void)client.down();
  }
}

TEST_CASE("TcpClient connect: while it waits for the next attempt, that begins at once") {
  const rung::Backoff::Options patient{.initial = 1h, .cap = 1h, .seed = 3};
  const InetAddress address = freeAddress();
  ClientThread client(address, {.reconnect = patient});
  client->connect();
  CHECK(client.failure().retryIn > 1min);
  Listener listener(address, 128);
  client->connect();
  CHECK(client.up()->connected());
  // Twice does no harm.
  client->connect();
  client->connect();
  client->disconnect(0s);
  (void)client.down();
  CHECK(client.ups() == 0);
  CHECK(client.failures() == 0);
}

TEST_CASE("TcpClient disconnect: no reconnecting; connect() goes on when the old one is down") {
  Listener listener;
  ClientThread client(listener.address(), eager());
  client->connect();
  (void)client.up();
  rung::UniqueFd peer = listener.accept();
  client->disconnect(1h);
  client->connect();
  char byte;
  CHECK(recv(peer.get(), &byte, 1, 0) == 0);  // the FIN
  CHECK(client.ups() == 0);                   // its peer has not closed yet
  peer.reset();
  CHECK(client.down() == CloseReason::local);
  CHECK(client.up()->id() == 2);
  client->disconnect(0s);
  CHECK(client.down() == CloseReason::lingerExpired);
  client.settle();
  CHECK(client.ups() == 0);
}

TEST_CASE("TcpClient disconnect: what send() accepted goes out before the FIN") {
  Listener listener;
  ClientThread client(listener.address());
  client->connect();
  const auto connection = client.up();
  const std::string text = pattern(8 << 20);
  CHECK(connection->send(text));
  client->disconnect(1h);
  const rung::UniqueFd peer = listener.accept();
  std::string got;
  std::string piece(1 << 16, '\0');
  for (ssize_t n; (n = recv(peer.get(), piece.data(), piece.size(), 0)) > 0;)
    got.append(piece, 0, static_cast<std::size_t>(n));
  CHECK(got == text);
}

TEST_CASE(
    "TcpClient disconnect and stop: an attempt, and the wait for one, are cancelled and told") {
  DeafListener deaf;
  FakeLookup fake;
  const rung::Backoff::Options patient{.initial = 1h, .cap = 1h};
  for (const bool stops : {false, true}) {
    for (const Target& target : {Target("host", 80), Target(deaf.address()), Target(nobody())}) {
      ClientThread client(target, {.attempt{.resolver = fake.resolver()}, .reconnect = patient});
      client->connect();
      if (target.toText() != "host:80" && target.toText() != deaf.address().toIpPort()) {
        CHECK(client.failure().retryIn);
      }
      client.settle();
      std::atomic<int> drained{-1};
      if (stops) {
        client->stop(1h, [&](bool d) { drained = d; });
      } else {
        client->disconnect();
      }
      const auto [failure, retryIn] = client.failure();
      CHECK(failure.step == ConnectStep::cancelled);
      CHECK(failure.error == std::error_code(ECANCELED, std::generic_category()));
      CHECK(failure.target == target.toText());
      CHECK(!retryIn);
      if (stops) CHECK(eventually([&] { return drained == 1; }));
      client->disconnect();  // there is nothing any more
      client.settle();
      CHECK(client.failures() == 0);
    }
  }
}

TEST_CASE("TcpClient stop: for good; the callback of each call comes once all has ended") {
  Listener listener;
  ClientThread client(listener.address(), eager());
  client->connect();
  (void)client.up();
  rung::UniqueFd peer = listener.accept();
  std::atomic<int> answers{0};
  client->stop(1h, [&](bool drained) { answers += drained ? 1 : 100; });
  client->stop(0s, [&](bool drained) { answers += drained ? 1 : 100; });
  client.settle();
  CHECK(answers == 0);  // the second call does not change the deadline
  peer.reset();
  CHECK(eventually([&] { return answers == 2; }));
  CHECK(client.down() == CloseReason::local);
  client->stop(0s, [&](bool) { ++answers; });
  CHECK(eventually([&] { return answers == 3; }));
  client->stop(0s);
  CHECK_THROWS_WITH_AS(client->connect(), "TcpClient client: connect() after stop()",
                       std::logic_error);
  client.settle();
  CHECK(client.ups() == 0);
}

TEST_CASE("TcpClient stop: a peer that does not go is cut at the deadline") {
  Listener listener;
  ClientThread client(listener.address(), eager());
  client->connect();
  (void)client.up();
  const rung::UniqueFd peer = listener.accept();
  std::atomic<int> drained{-1};
  client->stop(10ms, [&](bool d) { drained = d; });
  CHECK(client.down() == CloseReason::stopped);
  CHECK(eventually([&] { return drained == 0; }));
}

TEST_CASE("TcpClient: a server that accepts and says nothing is left by disconnect(linger)") {
  Listener listener;
  ClientThread client(listener.address(), {}, {});
  client->connect();
  const auto connection = client.up();
  const rung::UniqueFd peer = listener.accept();
  // What a protocol does that waits for a greeting.
  ServerThread::runOn(client.loop(),
                      [&] { connection->runAfter(10ms, [&] { client->disconnect(10ms); }); });
  CHECK(client.down() == CloseReason::lingerExpired);
}

TEST_CASE("TcpClient: a server that resets at once is a failure or an end, and backs off") {
  Listener listener;
  std::atomic<bool> over{false};
  std::thread server([&] {
    while (!over) {
      const rung::UniqueFd peer = listener.accept();
      const linger none{.l_onoff = 1, .l_linger = 0};
      setsockopt(peer.get(), SOL_SOCKET, SO_LINGER, &none, sizeof none);
    }
  });
  {
    ClientThread client(listener.address(), eager());
    client->connect();
    CHECK(eventually([&] { return client.ups() + client.failures() >= 10; }));
    for (int ups = client.ups(); ups > 0; --ups) {
      (void)client.up();
      CHECK(client.down() == CloseReason::reset);
    }
    for (int failures = client.failures(); failures > 0; --failures)
      CHECK(client.failure().failure.error == std::error_code(ECONNRESET, std::generic_category()));
  }
  over = true;
  rung::testing::Client last(listener.address());
  server.join();
}

TEST_CASE("TcpClient: its setters are for before connect(), and it has a loop") {
  const auto late = runInChild([] {
    EventLoop loop;
    TcpClient client(&loop, nobody(), "early");
    client.connect();
    client.setMessageCallback({});
  });
  CHECK(late.aborted());
  CHECK(late.says("TcpClient early: setMessageCallback after connect()"));
  const auto lateToo = runInChild([] {
    EventLoop loop;
    TcpClient client(&loop, nobody(), "early");
    client.connect();
    client.setFailureCallback({});
  });
  CHECK(lateToo.says("TcpClient early: setFailureCallback after connect()"));
  CHECK(runInChild([] {
          TcpClient client(nullptr, nobody(), "lost");
        }).says("TcpClient lost without an EventLoop"));
  EventLoop loop;
  CHECK_THROWS_AS(
      TcpClient(&loop, nobody(), "x", {.reconnect = rung::Backoff::Options{.initial = 0ms}}),
      std::invalid_argument);
  const TcpClient client(&loop, Target("example.org", 80), "named");
  CHECK(client.name() == "named");
  CHECK(client.target().toText() == "example.org:80");
}

TEST_CASE(
    "TcpClient: an exception of the failure callback ends the process, with the client's name") {
  const auto result = runInChild([] {
    EventLoop loop;
    TcpClient client(&loop, nobody(), "thrower");
    client.setFailureCallback([](auto&, auto) { throw std::runtime_error("what"); });
    client.connect();
    (void)rung::testing::runToQuit(loop);
  });
  CHECK(result.aborted());
  CHECK(result.says("an exception left the failure callback of TcpClient thrower: what"));
}

}  // namespace
