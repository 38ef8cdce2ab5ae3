// Keeping a connection open for an answer that is computed elsewhere: hold(). And getting rid of a
// peer in an orderly way: close(linger).

#include <doctest/doctest.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "rung/base/CountDownLatch.h"
#include "rung/base/ThreadPool.h"
#include "rung/net/ConnectionSet.h"
#include "rung/net/EventLoop.h"

#include "tests/support/Client.h"
#include "tests/support/LoopRounds.h"
#include "tests/support/Observed.h"
#include "tests/support/Process.h"
#include "tests/support/ServerThread.h"
#include "tests/support/Sockets.h"

using namespace std::chrono_literals;
using rung::Buffer;
using rung::CloseReason;
using rung::ConnectionProfile;
using rung::ConnectionSet;
using rung::CountDownLatch;
using rung::EventLoop;
using rung::InetAddress;
using rung::Socket;
using rung::TcpConnection;
using rung::TcpConnectionPtr;
using rung::TcpServer;
using rung::ThreadPool;
using rung::Timestamp;
using rung::testing::allowDescriptors;
using rung::testing::Client;
using rung::testing::eventually;
using rung::testing::Observed;
using rung::testing::pattern;
using rung::testing::runRounds;
using rung::testing::ServerThread;
using rung::testing::SocketPair;

namespace {

using Clock = std::chrono::steady_clock;

/// A server that holds its connection from the first message on, for the test.
struct Held : Observed {
  Held()
      : Observed([this](TcpServer& s) {
          s.setMessageCallback([this](const TcpConnectionPtr& c, Buffer& buffer, Timestamp) {
            buffer.retrieveAll();
            taken.set_value(c->hold());
          });
        }) {
    client.send("question");
  }

  TcpConnection::Hold hold() { return taken.get_future().get(); }

  std::promise<TcpConnection::Hold> taken;
};

// The peer's FIN ended the connection while a pool worked on the answer: none of 200 got it.
TEST_CASE("TcpConnection hold: two hundred peers half-close before their answers are computed") {
  if (!allowDescriptors(512)) {
    MESSAGE("skipped: this process may not have 512 descriptors");
    return;
  }
  ThreadPool pool("compute");
  pool.start(3);
  const ServerThread server(
      [&](TcpServer& s) {
        s.setMessageCallback([&](const TcpConnectionPtr& c, Buffer& buffer, Timestamp) {
          pool.run([hold = c->hold(), question = buffer.retrieveAllAsString()] {
            std::this_thread::sleep_for(1ms);  // this is the computing
            CHECK(hold->send("answer to " + question));
          });
        });
      },
      2);
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 200; ++i) {
    clients.push_back(std::make_unique<Client>(server.address()));
    clients.back()->send(std::to_string(i));
    clients.back()->shutdownWrite();
  }
  for (int i = 0; i < 200; ++i) {
    Client& client = *clients[static_cast<std::size_t>(i)];
    CHECK(client.receiveAll() == "answer to " + std::to_string(i));
    CHECK(client.lastError() == 0);
  }
}

TEST_CASE("TcpConnection hold: stop() waits for it, and the answer counts as drained") {
  Held f;
  auto hold = f.hold();
  std::promise<TcpServer::StopResult> stopped;
  f.server.server().stop(30s, [&](TcpServer::StopResult r) { stopped.set_value(r); });
  for (int i = 0; i < 3; ++i)
    f.server.inLoop([] {});
  CHECK(hold->connected());
  CHECK(hold->send("answer"));
  hold.release();
  CHECK(f.client.receiveAll() == "answer");
  f.client.close();
  CHECK(stopped.get_future().get().drained == 1);
}

TEST_CASE("TcpConnection hold: at its deadline stop() waits no longer") {
  Held f;
  const auto hold = f.hold();
  std::promise<TcpServer::StopResult> stopped;
  f.server.server().stop(20ms, [&](TcpServer::StopResult r) { stopped.set_value(r); });
  CHECK(stopped.get_future().get().cut == 1);
  CHECK_FALSE(hold->send("too late"));
  CHECK(hold->closeReason() == CloseReason::stopped);
}

TEST_CASE("TcpConnection hold: the last of several lets go, each behind what its thread sent") {
  Held f;
  auto first = f.hold();
  auto second = first->hold();
  f.client.shutdownWrite();
  std::string expected;
  std::thread other([hold = std::move(second)]() mutable {
    CHECK(static_cast<bool>(hold));
    CHECK(hold->send(pattern(1 << 20)));
    hold.release();
    CHECK_FALSE(static_cast<bool>(hold));
    hold.release();  // twice is once
  });
  other.join();
  f.server.inLoop([] {});
  CHECK(f.downs == 0);
  CHECK(first->send("tail"));
  first = TcpConnection::Hold();  // that lets go, too
  CHECK(f.client.receiveAll() == pattern(1 << 20) + "tail");
  CHECK(f.ended() == 0);
}

TEST_CASE("TcpConnection hold: does not stop who ends the connection with a call") {
  for (const bool byForce : {true, false}) {
    Held f;
    const auto hold = f.hold();
    byForce ? hold->forceClose() : hold->shutdown();
    CHECK(f.client.receiveAll().empty());
    f.client.close();
    CHECK(f.ended() == 0);
    CHECK_FALSE(hold->send("x"));
  }
}

TEST_CASE("TcpConnection hold: of a peer that is gone it is harmless, and keeps nobody") {
  Held f;
  auto hold = f.hold();
  const std::weak_ptr<TcpConnection> connection = hold.connection();
  f.client.shutdownWrite();
  f.server.inLoop([] {});
  f.client.reset();  // noticed although nothing is read any more, and nothing waits to be sent
  CHECK(f.ended() == EPIPE);
  CHECK(hold->closeReason() == CloseReason::reset);
  CHECK_FALSE(hold->send("x"));
  f.server.destroyServer();
  hold.release();
  f.server.inLoop([] {});
  CHECK(eventually([&] { return connection.use_count() <= 1; }));  // the promise of the test
}

// A download that is pumped from one piece to the next ended at 4.5 of 50 MB: in between it looked
// as if nothing was owed.
TEST_CASE("TcpConnection hold: a download pumped by writeComplete survives stop and half-close") {
  constexpr std::size_t kPiece = 40'000;
  constexpr int kPieces = 200;
  for (const bool stop : {true, false}) {
    CAPTURE(stop);
    int left = kPieces;
    Observed f([&](TcpServer& s) {
      s.setMessageCallback([&](const TcpConnectionPtr& c, Buffer& buffer, Timestamp) {
        buffer.retrieveAll();
        c->send(std::string(kPiece, 'x'));
      });
      s.setWriteCompleteCallback([&](const TcpConnectionPtr& c) {
        if (--left > 0) c->send(std::string(kPiece, 'x'));
      });
    });
    f.client.send("get");
    CHECK(f.client.receive(kPiece).size() == kPiece);
    std::promise<TcpServer::StopResult> stopped;
    if (stop) {
      f.server.server().stop(30s, [&](TcpServer::StopResult r) { stopped.set_value(r); });
    } else {
      f.client.shutdownWrite();
    }
    CHECK(f.client.receiveAll().size() == (kPieces - 1) * kPiece);
    f.client.close();
    CHECK(f.ended() == 0);
    if (stop) CHECK(stopped.get_future().get().drained == 1);
  }
}

// After shutdown() messages were called back still: a server had answered "protocol error", and
// carried out the next command of the same peer.
TEST_CASE("TcpConnection close: no more messages, and the last words arrive while the peer sends") {
  std::atomic<int> messages{0};
  Observed f([&](TcpServer& s) {
    s.setMessageCallback([&](const TcpConnectionPtr& c, Buffer&, Timestamp) {
      ++messages;
      c->send("protocol error");
      c->close(30s);
    });
  });
  f.client.send("bad");
  CHECK(f.client.receive(14) == "protocol error");
  for (int i = 0; i < 64; ++i)
    CHECK(f.client.send(std::string(64 << 10, 'x')));  // and more than any buffer holds
  CHECK(f.client.receiveAll().empty());
  CHECK(f.client.lastError() == 0);
  f.client.close();
  CHECK(f.ended() == 0);
  CHECK(f.connection()->closeReason() == CloseReason::local);
  CHECK(messages == 1);
}

// A socket that is closed with input unread sends a reset, and that overtakes what was sent.
TEST_CASE("TcpConnection close: input that nobody has read yet does not destroy the last words") {
  const std::string words = pattern(1 << 20);
  std::atomic<int> messages{0};
  Observed f([&](TcpServer& s) {
    s.setMessageCallback([&](const TcpConnectionPtr&, Buffer&, Timestamp) { ++messages; });
  });
  const TcpConnectionPtr connection = f.connection();
  connection->stopRead();
  f.server.inLoop([] {});
  CHECK(f.client.send(std::string(100'000, 'x')));
  connection->send(std::string_view(words));
  connection->close(30s);
  CHECK(f.client.receiveAll() == words);
  CHECK(f.client.lastError() == 0);
  f.client.close();
  CHECK(f.ended() == 0);
  CHECK(messages == 0);
}

TEST_CASE("TcpConnection close: one that does not go is cut after the time it was given") {
  Observed f;
  const TcpConnectionPtr connection = f.connection();
  const auto before = Clock::now();
  connection->send("bye");
  connection->close(1h);
  connection->close(60ms);  // the one that ends first counts
  connection->close(1h);
  CHECK(f.client.receiveAll() == "bye");
  CHECK(f.ended() == 0);
  CHECK(Clock::now() - before >= 60ms);
  CHECK(connection->closeReason() == CloseReason::lingerExpired);
  CHECK(connection->outputBytes() == 0);
}

TEST_CASE("TcpConnection close: one that does not read is cut as well, and what is lost is told") {
  Observed f;
  const TcpConnectionPtr connection = f.connection();
  connection->send(std::string(20 << 20, 'x'));
  connection->close(30ms);
  CHECK(f.ended() == 0);
  CHECK(connection->closeReason() == CloseReason::lingerExpired);
  CHECK(connection->outputBytes() > 5 << 20);
}

TEST_CASE("TcpConnection close: each of several has its own time, and the server may go first") {
  std::atomic<int> expired{0};
  std::atomic<int> stopped{0};
  std::vector<std::unique_ptr<Client>> clients;
  {
    ServerThread server([&](TcpServer& s) {
      s.setConnectionCallback([&](const TcpConnectionPtr& c) {
        if (c->connected() && c->id() == 1) c->close(std::chrono::hours::max());
        if (c->connected() && c->id() != 1) c->close(c->id() * 10ms);
        expired += c->closeReason() == CloseReason::lingerExpired;
        stopped += c->closeReason() == CloseReason::stopped;
      });
    });
    for (int i = 0; i < 5; ++i)
      clients.push_back(std::make_unique<Client>(server.address()));
    CHECK(eventually([&] { return expired == 4; }));
    CHECK(eventually([&] { return server.server().connectionCount() == 1; }));
  }
  CHECK(stopped == 1);
}

TEST_CASE("TcpConnection close: the time ends after the server and the connection are gone") {
  Observed f;
  TcpConnectionPtr connection = f.connection();
  const std::weak_ptr<TcpConnection> gone = connection;
  CountDownLatch later(1);
  f.server.inLoop([&] {
    connection->close(1ms);
    f.server.ownership().reset();
    connection.reset();
    CHECK(gone.expired());
    f.server.loop()->runAfter(1ms, [&] { later.countDown(); });  // runs behind the other timer
  });
  later.wait();
  CHECK(f.ended() == 0);
  CHECK(f.client.receiveAll().empty());
  CHECK(f.client.lastError() == 0);
}

// No server leaves a connection behind that is up; its set may be gone all the same.
TEST_CASE("TcpConnection close: without an owner that would cut it, it waits for its peer") {
  EventLoop loop;
  SocketPair pair;
  ConnectionProfile profile;
  profile.loop = &loop;
  profile.mailbox = loop.mailbox();
  auto set =
      ConnectionSet::create(std::move(profile), std::make_shared<ConnectionSet::Counts>(), {});
  const auto connection = std::make_shared<TcpConnection>(
      set->profile(), 1, Socket(std::move(pair.ours)), InetAddress());
  connection->connectEstablished();
  set.reset();
  connection->close(0ms);
  runRounds(loop, 3);
  CHECK(connection->connected());
  char byte;
  CHECK(read(pair.theirs.get(), &byte, 1) == 0);  // the FIN
  pair.theirs.reset();
  runRounds(loop, 3);
  CHECK_FALSE(connection->connected());
  CHECK(connection->closeReason() == CloseReason::local);
}

TEST_CASE("TcpConnection close: forceClose() does not wait for it, nor does a hold prolong it") {
  Held f;
  const auto hold = f.hold();
  hold->send("answer");
  hold->close(1h);
  CHECK(f.client.receiveAll() == "answer");
  hold->forceClose();
  CHECK(f.ended() == 0);
  CHECK(hold->closeReason() == CloseReason::forced);
}

}  // namespace
