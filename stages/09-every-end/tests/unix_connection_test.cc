// A TcpConnection over a Unix-domain socket: what it knows of its peer, and the ends and the
// back-pressure of TCP once more, since the kernel's side of it is other code.

#include <doctest/doctest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <future>
#include <string>
#include <thread>

#include "rung/net/UnixAddress.h"

#include "tests/support/Client.h"
#include "tests/support/OneConnection.h"
#include "tests/support/ServerThread.h"
#include "tests/support/Stop.h"
#include "tests/support/TempDirectory.h"

using namespace std::chrono_literals;
using rung::CloseReason;
using rung::TcpConnectionPtr;
using rung::TcpServer;
using rung::UnixAddress;
using rung::testing::Client;
using rung::testing::connectClients;
using rung::testing::echo;
using rung::testing::eventually;
using rung::testing::OneConnection;
using rung::testing::pattern;
using rung::testing::ServerThread;
using rung::testing::Stop;
using rung::testing::TempDirectory;

namespace {

/// A server on a Unix socket with one client, whose connection is up.
struct UnixConnection {
  explicit UnixConnection(const std::function<void(TcpServer&)>& setUp = {})
      : server(
            [&](TcpServer& s) {
              s.setMessageCallback(echo);
              s.setConnectionCallback([this](const TcpConnectionPtr& c) {
                c->connected() ? up.set_value(c) : down.set_value(c->closeReason());
              });
              if (setUp) setUp(s);
            },
            0, address),
        client(address),
        connection(up.get_future().get()) {}
  void inLoop(const std::function<void()>& work) { server.inLoop(work); }
  CloseReason ended() { return down.get_future().get(); }

  const TempDirectory directory;
  const UnixAddress address{directory / "s"};
  std::promise<TcpConnectionPtr> up;
  std::promise<CloseReason> down;
  ServerThread server;
  Client client;
  TcpConnectionPtr connection;
};

TEST_CASE("TcpConnection: over a Unix socket it knows the process of its peer") {
  UnixConnection f;
  CHECK(f.connection->name() == "test-unix:#1");
  CHECK(f.connection->peerAddress().toIpPort() == "unix:");
  f.inLoop([&] {
    const auto peer = f.connection->peerCredentials();
    REQUIRE(peer.has_value());
    CHECK(peer->pid == getpid());
    CHECK(peer->uid == geteuid());
    CHECK(peer->gid == getegid());
    CHECK(f.connection->localAddress().toIpPort() == "unix:");
    CHECK_FALSE(f.connection->setTcpNoDelay(true));
  });
  f.client.close();
  CHECK(f.ended() == CloseReason::peer);
  f.inLoop([&] { CHECK_FALSE(f.connection->peerCredentials().has_value()); });
  OneConnection tcp;
  tcp.inLoop([&] { CHECK_FALSE(tcp.connection->peerCredentials().has_value()); });
}

TEST_CASE("TcpConnection: over a Unix socket 64 MiB come back to a peer that half-closes") {
  UnixConnection f;
  const std::string sent = pattern(64 << 20);
  std::jthread writer([&] {
    CHECK(f.client.send(sent));
    f.client.shutdownWrite();
  });
  const bool same = f.client.receiveAll() == sent;
  CHECK(same);
  CHECK(f.client.lastError() == 0);
  writer.join();
  f.client.close();
  CHECK(f.ended() == CloseReason::peer);
}

TEST_CASE("TcpConnection: over a Unix socket a peer that does not read is not read from") {
  UnixConnection f(
      [](TcpServer& s) { s.setLimits({.highWaterMark = 1 << 20, .lowWaterMark = 1 << 18}); });
  const std::string sent = pattern(16 << 20);
  std::jthread writer([&] {
    CHECK(f.client.send(sent));
    f.client.shutdownWrite();
  });
  bool reading = true;
  CHECK(eventually([&] {
    f.inLoop([&] { reading = f.connection->isReading(); });
    return !reading;
  }));
  CHECK(f.connection->outputBytes() >= 1 << 20);
  CHECK(f.connection->outputBytes() <= (1 << 20) + (512 << 10));
  const bool same = f.client.receiveAll() == sent;
  CHECK(same);
}

TEST_CASE("TcpConnection: over a Unix socket a half-close callback may answer late") {
  std::promise<TcpConnectionPtr> halfClosed;
  UnixConnection f([&](TcpServer& s) {
    s.setHalfCloseCallback([&](const TcpConnectionPtr& c) { halfClosed.set_value(c); });
  });
  f.client.shutdownWrite();
  const TcpConnectionPtr connection = halfClosed.get_future().get();
  f.inLoop([] {});
  CHECK(connection->connected());
  CHECK(connection->send("late"));
  connection->shutdown();
  CHECK(f.client.receiveAll() == "late");
  CHECK(f.ended() == CloseReason::peer);
}

// Closed with bytes unread, a Unix socket says ECONNRESET to the other side, as TCP does.
TEST_CASE("TcpConnection: over a Unix socket a peer that goes amid output is a reset") {
  UnixConnection f;
  f.connection->stopRead();
  f.connection->send(std::string(8 << 20, 'x'));
  f.inLoop([] {});
  f.client.close();
  CHECK(f.ended() == CloseReason::reset);
  CHECK(f.connection->outputBytes() > 0);
}

TEST_CASE("TcpConnection: over a Unix socket what a peer sent before it closed is read") {
  std::atomic<std::size_t> got{0};
  UnixConnection f([&](TcpServer& s) {
    s.setMessageCallback([&](const TcpConnectionPtr&, rung::Buffer& buffer, rung::Timestamp) {
      got += buffer.readableBytes();
      buffer.retrieveAll();
    });
  });
  f.connection->stopRead();
  f.inLoop([] {});
  CHECK(f.client.send(std::string(100'000, 'x')));
  f.client.close();
  for (int i = 0; i < 5; ++i)
    f.inLoop([] {});
  CHECK(f.connection->connected());
  const std::uint64_t before = [&] {
    std::uint64_t rounds = 0;
    f.inLoop([&] { rounds = f.server.loop()->iteration(); });
    return rounds;
  }();
  f.inLoop([&] { CHECK(f.server.loop()->iteration() < before + 20); });  // it does not spin
  f.connection->startRead();
  (void)f.ended();
  CHECK(got == 100'000);
}

TEST_CASE("TcpConnection: over a Unix socket idle connections are closed, and stop drains") {
  const TempDirectory directory;
  const UnixAddress address(directory / "s");
  {
    ServerThread server(
        [](TcpServer& s) {
          s.setMessageCallback(echo);
          s.setIdleTimeout(100ms, 20ms);
        },
        1, address);
    const auto clients = connectClients(address, 2);
    for (const auto& client : clients)
      CHECK(client->receiveAll().empty());
  }
  ServerThread server([](TcpServer& s) { s.setMessageCallback(echo); }, 1, address);
  auto clients = connectClients(address, 3);
  Stop stop(server.server(), 200ms);
  for (std::size_t i = 0; i < 2; ++i) {
    CHECK(clients[i]->receiveAll().empty());
    clients[i]->close();
  }
  const TcpServer::StopResult result = stop.wait();
  CHECK(result.drained == 2);
  CHECK(result.cut == 1);  // the last one does not close
}

}  // namespace
