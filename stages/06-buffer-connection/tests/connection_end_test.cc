// Each way in which a connection ends.

#include <doctest/doctest.h>
#include <malloc.h>
#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "rung/base/Logging.h"
#include "rung/net/Mailbox.h"

#include "tests/support/ChildProcess.h"
#include "tests/support/Client.h"
#include "tests/support/Observed.h"
#include "tests/support/ServerThread.h"

using namespace std::chrono_literals;
using rung::Buffer;
using rung::CountDownLatch;
using rung::EventLoop;
using rung::EventLoopThread;
using rung::InetAddress;
using rung::TcpConnectionPtr;
using rung::TcpServer;
using rung::Timestamp;
using rung::testing::Client;
using rung::testing::echo;
using rung::testing::eventually;
using rung::testing::Observed;
using rung::testing::pattern;
using rung::testing::runInChild;
using rung::testing::ServerThread;

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

TEST_CASE("TcpConnection ends: a reset while much is queued frees it, and tells how much is lost") {
  constexpr std::size_t kMuch = 50 << 20;
  const auto memory = [] { return mallinfo2().uordblks + mallinfo2().hblkhd; };
  Observed f;
  const TcpConnectionPtr connection = f.connection();
  const std::size_t before = memory();
  connection->send(std::string(kMuch, 'x'));
  f.server.inLoop([] {});
  f.client.reset();
  CHECK(f.ended() != 0);
  f.server.inLoop([] {});
  CHECK(connection->closeReason() == rung::CloseReason::reset);
  CHECK(connection->outputBytes() > kMuch / 2);
  CHECK(connection->outputBytes() <= kMuch);
  CHECK(memory() < before + kMuch / 2);
}

// The write fails with EPIPE, and SIGPIPE would end the process. What the peer had sent before is
// still there to be read.
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

TEST_CASE(
    "TcpConnection ends: an I/O thread's loop quits by itself, and the server goes after it") {
  std::atomic<int> downs{0};
  TcpConnectionPtr kept;
  CountDownLatch up(1);
  ServerThread server(
      [&](TcpServer& s) {
        s.setConnectionCallback([&](const TcpConnectionPtr& c) {
          downs += !c->connected();
          if (!c->connected()) return;
          kept = c;
          c->loop()->quit();
          up.countDown();
        });
      },
      1);
  Client client(server.address());
  up.wait();
  // The next connection is handed to a loop that is gone: it is closed, and nothing else happens.
  CHECK(eventually([&] { return kept->send("x") == false || !kept->connected(); }));
  Client next(server.address());
  CHECK(next.receiveAll().empty());
  server.destroyServer();
  kept.reset();
  CHECK(client.receiveAll().size() < 100);
}

TEST_CASE("TcpConnection ends: when the kernel will not watch one more socket, it is closed") {
  // No test can use up the kernel's watches, but a second Channel's descriptor number can be taken
  // away: epoll refuses a regular file with the same exception.
  std::string logged;
  static std::string* lines = nullptr;
  lines = &logged;
  rung::Logger::setOutput([](std::string_view line) { lines->append(line); });
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
  rung::Logger::setOutput(nullptr);
  // The first one of the process only, and this may not be the first.
  CHECK((logged.empty() || logged.find("Operation not permitted") != std::string::npos));
}

}  // namespace
