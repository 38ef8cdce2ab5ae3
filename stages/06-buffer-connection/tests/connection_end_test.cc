// The plain ways in which a connection ends.

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <atomic>
#include <cerrno>
#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "rung/base/Logging.h"
#include "rung/net/Mailbox.h"

#include "tests/support/Alone.h"
#include "tests/support/ChildProcess.h"
#include "tests/support/Client.h"
#include "tests/support/LoopRounds.h"
#include "tests/support/Observed.h"
#include "tests/support/QuietLog.h"
#include "tests/support/ServerThread.h"
#include "tests/support/Sockets.h"

using rung::Buffer;
using rung::CountDownLatch;
using rung::EventLoop;
using rung::EventLoopThread;
using rung::InetAddress;
using rung::TcpConnectionPtr;
using rung::TcpServer;
using rung::Timestamp;
using rung::testing::Alone;
using rung::testing::BlockedLoop;
using rung::testing::Client;
using rung::testing::echo;
using rung::testing::eventually;
using rung::testing::kMuch;
using rung::testing::Observed;
using rung::testing::pattern;
using rung::testing::QuietLog;
using rung::testing::runInChild;
using rung::testing::runRounds;
using rung::testing::ServerThread;
using rung::testing::take;
using rung::testing::toNobody;

namespace {

TEST_CASE("TcpConnection ends: the peer closes") {
  Observed f;
  const TcpConnectionPtr connection = f.connection();
  f.client.close();
  CHECK(f.ended() == 0);
  CHECK_FALSE(connection->connected());
  f.server.inLoop([&] {
    CHECK(f.downs == 1);
    CHECK(f.server.server().connectionCount() == 0);
    CHECK(connection->localAddress() ==
          InetAddress());  // its descriptor is closed, though we keep it
  });
}

TEST_CASE("TcpConnection ends: shutdown sends what is queued first, then goes on reading") {
  std::string received;
  Observed f([&](TcpServer& s) {
    s.setMessageCallback([&](const TcpConnectionPtr&, Buffer& buffer, Timestamp) {
      received += buffer.retrieveAllAsString();
    });
  });
  const TcpConnectionPtr connection = f.connection();
  const std::string sent = pattern(30 << 20);
  connection->send(std::string_view(sent));
  connection->shutdown();
  connection->shutdown();  // twice is once
  CHECK_FALSE(connection->send("too late"));
  CHECK(connection->connected());
  const bool same = f.client.receiveAll() == sent;
  CHECK(same);
  f.client.send("thank you");
  f.client.close();
  CHECK(f.ended() == 0);
  CHECK(received == "thank you");
}

TEST_CASE("TcpConnection ends: forceClose, from the loop or another thread, twice") {
  for (const bool fromLoop : {true, false}) {
    Observed f;
    const TcpConnectionPtr connection = f.connection();
    const auto close = [&] {
      connection->forceClose();
      connection->forceClose();
    };
    fromLoop ? f.server.inLoop(close) : close();
    CHECK(f.ended() == 0);
    CHECK(f.client.receiveAll().empty());
    f.server.inLoop([] {});
    connection->forceClose();
    f.server.inLoop([] {});
    CHECK(f.downs == 1);
  }
}

TEST_CASE("TcpConnection ends: forceClose does not wait for a peer that does not read") {
  Observed f;
  const TcpConnectionPtr connection = f.connection();
  connection->send(std::string(50 << 20, 'x'));
  connection->forceClose();
  CHECK(f.ended() == 0);
  CHECK(f.client.receiveAll().size() < 50 << 20);
}

TEST_CASE("TcpConnection ends: a reset is told from an orderly end") {
  Observed f;
  const TcpConnectionPtr connection = f.connection();
  f.client.reset();
  CHECK(f.ended() == ECONNRESET);
  CHECK(connection->error() == ECONNRESET);
}

// The write fails with EPIPE. What the peer had sent before is still there to be read.
TEST_CASE("TcpConnection ends: EPIPE does not lose what the peer had sent") {
  const auto child = runInChild([] {
    std::string received;
    CountDownLatch plugged(1);
    CountDownLatch unplug(1);
    Observed f([&](TcpServer& s) {
      s.setMessageCallback([&](const TcpConnectionPtr& connection, Buffer& buffer, Timestamp) {
        received += buffer.retrieveAllAsString();
        connection->send("reply");
      });
    });
    const TcpConnectionPtr connection = f.connection();
    f.server.loop()->queueInLoop([&] {
      plugged.countDown();
      unplug.wait();
      // The peer has closed for good: the first write makes it answer with a reset, the next ones
      // fail.
      for (int i = 0; i < 10; ++i)
        connection->send("into the void");
    });
    plugged.wait();
    f.client.send("last words");
    f.client.close();
    unplug.countDown();
    (void)f.ended();
    if (received != "last words") _exit(2);
    if (connection->send("anything")) _exit(3);
  });
  CHECK_MESSAGE(child.exitedWith(0), child.status << " " << child.output);
}

// The signal would end the process: on this thread nothing blocks it, as rung::Thread does.
TEST_CASE("TcpConnection ends: to a peer that reads no more send fails, and raises no SIGPIPE") {
  Alone f;
  shutdown(f.pair.theirs.get(), SHUT_RD);
  CHECK_FALSE(f.connection->send("x"));
}

// The user may be in the middle of a callback that goes on to use the connection.
TEST_CASE("TcpConnection ends: after a send that fails, no other is taken, and the end is a task") {
  std::string calls;
  rung::ConnectionProfile profile;
  profile.callbacks.connection = [&](const TcpConnectionPtr& connection) {
    calls += connection->connected() ? "up " : "down ";
  };
  Alone f(std::move(profile), rung::Socket(toNobody()));
  CHECK(f.connection->send("x"));  // the next call is told that nobody has it
  CHECK_FALSE(f.connection->send("y"));
  CHECK_FALSE(f.connection->send("z"));  // the kernel would take it
  CHECK(calls == "up ");
  runRounds(f.loop, 3);
  CHECK(calls == "up down ");
  CHECK(f.connection->error() == ECONNREFUSED);
}

TEST_CASE("TcpConnection ends: a write that fails when there is room again is the end of sending") {
  Alone f;
  CHECK(f.connection->send(kMuch));
  REQUIRE(f.connection->outputBytes() > 0);
  shutdown(f.pair.theirs.get(), SHUT_RD);
  while (!take(f.pair.theirs.get(), kMuch.size()).empty()) {  // what it has is still there to read
  }
  runRounds(f.loop, 3);
  CHECK_FALSE(f.connection->send("more"));
}

// Each of the three is a task, so the FIN cannot overtake the bytes.
TEST_CASE(
    "TcpConnection ends: what a thread has sent before its shutdown goes out before the FIN") {
  Observed f;
  const TcpConnectionPtr connection = f.connection();
  {
    const BlockedLoop blocked(f.server.loop());
    CHECK(connection->send("answer"));
    CHECK(connection->send(", tail"));
    connection->shutdown();
    CHECK_FALSE(connection->send("too late"));
    CHECK(connection->connected());
  }
  CHECK(f.client.receiveAll() == "answer, tail");
  CHECK(f.client.lastError() == 0);
}

TEST_CASE("TcpConnection ends: one that is up, or down, is not brought up once more") {
  std::string calls;
  rung::ConnectionProfile profile;
  profile.callbacks.connection = [&](const TcpConnectionPtr& connection) {
    calls += connection->connected() ? "up " : "down ";
  };
  Alone f(std::move(profile));
  f.connection->connectEstablished();
  CHECK(calls == "up ");
  f.connection->connectDestroyed();
  f.connection->connectEstablished();
  CHECK(calls == "up down ");
  CHECK_FALSE(f.connection->connected());
}

TEST_CASE("TcpConnection ends: the server is destroyed in the message callback, on the base loop") {
  Observed* self = nullptr;
  Observed f([&](TcpServer& s) {
    s.setMessageCallback([&](const TcpConnectionPtr& c, Buffer& buffer, Timestamp) {
      self->server.ownership().reset();
      CHECK_FALSE(c->connected());
      CHECK(buffer.retrieveAllAsString() == "kill");  // the Buffer lives as long as the callback
      CHECK_FALSE(c->send("x"));
    });
  });
  self = &f;
  f.client.send("kill");
  CHECK(f.ended() == 0);
  CHECK(f.client.receiveAll().empty());
}

TEST_CASE("TcpConnection ends: the server is destroyed in the message callback, on an I/O loop") {
  Observed* self = nullptr;
  Observed f(
      [&](TcpServer& s) {
        s.setMessageCallback([&](const TcpConnectionPtr&, Buffer& buffer, Timestamp) {
          buffer.retrieveAll();
          self->server.ownership().reset();  // would wait for this very thread
        });
      },
      2);
  self = &f;
  f.client.send("kill");
  CHECK(f.ended() == 0);
  CHECK(f.client.receiveAll().empty());
}

TEST_CASE(
    "TcpConnection ends: the server is destroyed in the up callback, and in the down callback") {
  for (const bool whenUp : {true, false}) {
    for (const int threads : {0, 1}) {
      CAPTURE(whenUp);
      CAPTURE(threads);
      std::atomic<int> downs{0};
      std::atomic<ServerThread*> self{nullptr};
      ServerThread server(
          [&](TcpServer& s) {
            s.setConnectionCallback([&](const TcpConnectionPtr& c) {
              if (!c->connected()) ++downs;
              if (c->connected() == whenUp) self.load()->ownership().reset();
            });
          },
          threads);
      self = &server;
      Client client(server.address());
      if (!whenUp) client.shutdownWrite();
      CHECK(client.receiveAll().empty());
      CHECK(eventually([&] { return downs == 1; }));
    }
  }
}

TEST_CASE("TcpConnection ends: the server is destroyed by a thread that runs no loop") {
  for (const int threads : {0, 2}) {
    std::atomic<int> downs{0};
    ServerThread server(
        [&](TcpServer& s) {
          s.setMessageCallback(echo);
          s.setConnectionCallback([&](const TcpConnectionPtr& c) { downs += !c->connected(); });
        },
        threads);
    std::vector<std::unique_ptr<Client>> clients;
    for (int i = 0; i < 10; ++i) {
      clients.push_back(std::make_unique<Client>(server.address()));
      clients.back()->send("x");
      CHECK(clients.back()->receive(1) == "x");
    }
    server.ownership().reset();  // here, on the test's thread
    CHECK(downs == 10);          // when it returns, all callbacks are over
    for (auto& client : clients)
      CHECK(client->receiveAll().empty());
  }
}

TEST_CASE(
    "TcpConnection ends: an I/O thread's loop quits by itself, and the server goes after it") {
  std::atomic<int> downs{0};
  TcpConnectionPtr kept;
  CountDownLatch ended(1);
  ServerThread server(
      [&](TcpServer& s) {
        s.setConnectionCallback([&](const TcpConnectionPtr& c) {
          downs += !c->connected();
          if (!c->connected()) return;
          kept = c;
          c->loop()->quit();
        });
        s.setThreadExitCallback([&](EventLoop*) { ended.countDown(); });
      },
      1);
  Client client(server.address());
  ended.wait();
  // The next connection is handed to a loop that is gone: it is closed, and nothing else happens.
  CHECK(eventually([&] { return kept->send("x") == false || !kept->connected(); }));
  Client next(server.address());
  CHECK(next.receiveAll().empty());
  server.destroyServer();
  kept.reset();
  CHECK(client.receiveAll().size() < 100);
}

// Only the first one of a process is a line. So this stands before all other cases that make one.
TEST_CASE("TcpConnection ends: of the sockets that the kernel will not watch, the log tells once") {
  const auto child = runInChild([] {
    for (int i = 0; i < 3; ++i) {
      const Alone f({}, rung::Socket(rung::checkedFd(memfd_create("regular", 0), "memfd_create")));
      if (f.connection->connected() || f.connection->error() != EPERM) _exit(2);
    }
  });
  CHECK(child.exitedWith(0));
  CHECK(child.lines("ERROR") == 1);
}

TEST_CASE("TcpConnection ends: when the kernel will not watch one more socket, it is closed") {
  // No test can use up the kernel's watches, but a second Channel's descriptor number can be taken
  // away: epoll refuses a regular file with the same exception.
  const QuietLog quiet;
  std::promise<int> closed;
  EventLoopThread thread;
  EventLoop* loop = thread.startLoop();
  ServerThread::runOn(loop, [&] {
    auto profile = std::make_shared<rung::ConnectionProfile>();
    profile->loop = loop;
    profile->mailbox = loop->mailbox();
    profile->callbacks.connection = [](const TcpConnectionPtr&) { FAIL("it never was up"); };
    profile->closeCallback = [&](const TcpConnectionPtr& c) { closed.set_value(c->error()); };
    rung::Socket file(rung::checkedFd(memfd_create("regular", 0), "memfd_create"));
    const auto connection =
        std::make_shared<rung::TcpConnection>(profile, 1, std::move(file), InetAddress());
    connection->connectEstablished();
    CHECK_FALSE(connection->connected());
  });
  CHECK(closed.get_future().get() == EPERM);
}

}  // namespace
