// Ends with one direction still open, with reading paused, and with calls that come too late.

#include <doctest/doctest.h>
#include <malloc.h>

#include <cerrno>
#include <future>
#include <memory>
#include <string>
#include <thread>

#include "tests/support/Client.h"
#include "tests/support/Observed.h"
#include "tests/support/ServerThread.h"

using rung::Buffer;
using rung::EventLoop;
using rung::InetAddress;
using rung::TcpConnectionPtr;
using rung::TcpServer;
using rung::Timestamp;
using rung::testing::Client;
using rung::testing::echo;
using rung::testing::Observed;
using rung::testing::pattern;
using rung::testing::ServerThread;

namespace {

// muduo closes as soon as it reads the end of the stream, and throws away what it had still to
// send: a large echo to a client that sends everything and then half-closes comes back cut short.
TEST_CASE("TcpConnection ends: the peer half-closes with 100 MiB queued, and gets all of it") {
  Observed f([](TcpServer& s) {
    s.setLimits({.pauseReading = false});
    s.setMessageCallback(echo);
  });
  const std::string sent = pattern(100 << 20);
  REQUIRE(f.client.send(sent));  // nothing is read meanwhile, so it queues up over there
  f.client.shutdownWrite();
  const bool same = f.client.receiveAll() == sent;
  CHECK(same);
  CHECK(f.client.lastError() == 0);
  CHECK(f.ended() == 0);
}

TEST_CASE("TcpConnection ends: half-close while reading is paused by the high-water mark") {
  Observed f([](TcpServer& s) {
    s.setLimits({.highWaterMark = 100'000, .lowWaterMark = 10'000});
    s.setMessageCallback(echo);
  });
  const std::string sent = pattern(50 << 20);
  std::thread writer([&] {
    CHECK(f.client.send(sent));
    f.client.shutdownWrite();
  });
  const bool same = f.client.receiveAll() == sent;
  CHECK(same);
  writer.join();
  CHECK(f.ended() == 0);
}

TEST_CASE("TcpConnection ends: with a half-close callback it stays open until the user is done") {
  std::promise<TcpConnectionPtr> halfClosed;
  Observed f([&](TcpServer& s) {
    s.setHalfCloseCallback([&](const TcpConnectionPtr& c) { halfClosed.set_value(c); });
  });
  f.client.send("request");
  f.client.shutdownWrite();
  const TcpConnectionPtr connection = halfClosed.get_future().get();
  f.server.inLoop([] {});
  CHECK(connection->connected());
  CHECK(connection->send("late answer, computed elsewhere"));
  connection->shutdown();
  CHECK(f.client.receiveAll() == "late answer, computed elsewhere");
  CHECK(f.ended() == 0);
}

TEST_CASE("TcpConnection ends: a reset while much is queued frees it, and tells how much is lost") {
  constexpr std::size_t kBytes = 50 << 20;
  const auto memory = [] { return mallinfo2().uordblks + mallinfo2().hblkhd; };
  Observed f;
  const TcpConnectionPtr connection = f.connection();
  const std::size_t before = memory();
  connection->send(std::string(kBytes, 'x'));
  f.server.inLoop([] {});
  f.client.reset();
  CHECK(f.ended() != 0);
  f.server.inLoop([] {});
  CHECK(connection->closeReason() == rung::CloseReason::reset);
  CHECK(connection->outputBytes() > kBytes / 2);
  CHECK(connection->outputBytes() <= kBytes);
  CHECK(memory() < before + kBytes / 2);
}

TEST_CASE("TcpConnection ends: a reset is noticed while reading is paused") {
  Observed f;
  const TcpConnectionPtr connection = f.connection();
  connection->stopRead();
  connection->send(std::string(50 << 20, 'x'));
  f.server.inLoop([] {});
  f.client.reset();
  CHECK(f.ended() == ECONNRESET);
}

TEST_CASE(
    "TcpConnection ends: bytes and end that arrive while reading is paused wait for startRead") {
  std::string received;
  Observed f([&](TcpServer& s) {
    s.setMessageCallback([&](const TcpConnectionPtr&, Buffer& buffer, Timestamp) {
      received += buffer.retrieveAllAsString();
    });
  });
  const TcpConnectionPtr connection = f.connection();
  connection->stopRead();
  connection->shutdown();  // with the peer's FIN both directions are down: the kernel reports HUP
  CHECK(f.client.receiveAll().empty());
  f.client.send("waiting");
  f.client.close();
  for (int i = 0; i < 5; ++i)
    f.server.inLoop([] {});
  CHECK(f.downs == 0);
  connection->startRead();
  CHECK(f.ended() == 0);
  CHECK(received == "waiting");
}

TEST_CASE("TcpConnection ends: every call in the down callback is harmless") {
  std::promise<void> done;
  ServerThread server([&](TcpServer& s) {
    s.setConnectionCallback([&](const TcpConnectionPtr& c) {
      if (c->connected()) return;
      CHECK_FALSE(c->send("x"));
      CHECK_FALSE(c->send(std::string("x")));
      c->shutdown();
      c->forceClose();
      c->stopRead();
      c->startRead();
      c->setCallbacks(nullptr);
      CHECK(c->localAddress().port() != 0);  // the descriptor is still there
      done.set_value();
    });
  });
  Client(server.address()).close();
  done.get_future().get();
  server.inLoop([&] { CHECK(server.server().connectionCount() == 0); });
}

// "Every call on it is harmless, on any thread": these aborted, as on the wrong thread.
TEST_CASE("TcpConnection ends: on one that is down every call is harmless, on any thread") {
  Observed f;
  const TcpConnectionPtr c = f.connection();
  f.client.close();
  CHECK(f.ended() == 0);
  f.server.inLoop([] {});  // its end is behind us, its loop and server are not
  c->setCallbacks(std::make_shared<rung::ConnectionCallbacks>(c->callbacks()));
  c->setContext(1);
  CHECK(c->inputBuffer().empty());
  CHECK_FALSE(c->isReading());
  CHECK_FALSE(c->setTcpNoDelay(true));
  CHECK(c->localAddress() == rung::InetAddress());
  CHECK_FALSE(c->hold()->send("x"));
}

TEST_CASE("TcpConnection ends: kept after server and loop are gone, every call is harmless") {
  TcpConnectionPtr kept;
  {
    Observed f([](TcpServer& s) { s.setMessageCallback(echo); });
    kept = f.connection();
    f.server.destroyServer();
    CHECK(f.downs == 1);
    CHECK(f.client.receiveAll().empty());
  }
  CHECK_FALSE(kept->connected());
  CHECK_FALSE(kept->send("x"));
  CHECK_FALSE(kept->send(std::string(100, 'x')));
  kept->shutdown();
  kept->forceClose();
  kept->stopRead();
  kept->startRead();
  CHECK(kept->name().find("test-127.0.0.1:") == 0);
  CHECK(kept.use_count() == 1);
}

TEST_CASE("TcpConnection ends: the loop is destroyed first, with connections alive") {
  TcpConnectionPtr kept;
  std::unique_ptr<TcpServer> server;
  std::unique_ptr<Client> client;
  {
    EventLoop loop;
    server = std::make_unique<TcpServer>(&loop, InetAddress::loopback(0), "orphan");
    server->setConnectionCallback([&](const TcpConnectionPtr& c) {
      kept = c;
      loop.quit();
    });
    server->start();
    client = std::make_unique<Client>(server->listenAddress());
    loop.loop();
  }
  // It stayed "connected", its descriptor open and its peer waiting, for as long as it was kept.
  CHECK_FALSE(kept->connected());
  CHECK(kept->closeReason() == rung::CloseReason::loopGone);
  CHECK(server->connectionCount() == 0);
  CHECK(client->receiveAll().empty());
  CHECK_FALSE(kept->send("x"));  // nothing is touched that is gone
  kept->shutdown();
  kept->forceClose();
  kept->stopRead();
}

}  // namespace
