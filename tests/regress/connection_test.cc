// What went wrong with connections elsewhere, or here once.

#include <doctest/doctest.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "rung/base/Logging.h"

#include "tests/faults/Faults.h"
#include "tests/support/ChangeCallbacks.h"
#include "tests/support/ChildProcess.h"
#include "tests/support/Client.h"
#include "tests/support/Observed.h"
#include "tests/support/ServerThread.h"

using namespace std::chrono_literals;
using namespace rung::testing;
using rung::Buffer;
using rung::ConnectionCallbacks;
using rung::CountDownLatch;
using rung::EventLoop;
using rung::InetAddress;
using rung::TcpConnectionPtr;
using rung::TcpServer;
using rung::Timestamp;

namespace {

// A rewrite took EAGAIN for a failure, and threw away what had not been written yet.
TEST_CASE("regress: EAGAIN, EINTR and short writes lose no byte") {
  const Faults::Spare clients;
  ServerThread server([](TcpServer& s) { s.setMessageCallback(echo); });
  const std::string message = pattern(5000);
  for (const int fault : {EAGAIN, EINTR, FaultPlan::kShort}) {
    Client client(server.address());
    Faults::arm(FaultPlan::scriptOf(Call::send, {fault, fault, fault}));
    client.send(message);
    CHECK(client.receive(message.size()) == message);
    CHECK(Faults::disarm().injected > 0);
  }
}

// The kernel may want memory for a moment (ENOBUFS, ENOMEM). The peer is alive then, and waits for
// its answer: to send no more, and go on reading, left it waiting for ever.
TEST_CASE("regress: an error of send that is not the peer's ends the connection") {
  const Faults::Spare clients;
  for (const int error : {ENOBUFS, ENOMEM, EPIPE, ECONNRESET, ETIMEDOUT}) {
    CAPTURE(strerrorname_np(error));
    std::atomic<int> reported{0};
    ServerThread server([&](TcpServer& s) {
      s.setMessageCallback(echo);
      s.setConnectionCallback([&](const TcpConnectionPtr& connection) {
        if (!connection->connected()) reported = connection->error();
      });
    });
    Client client(server.address());
    Faults::arm(FaultPlan::scriptOf(Call::send, {error}));
    client.send("x");
    if (error == ENOBUFS || error == ENOMEM) {
      CHECK(client.receiveAll().empty());
      CHECK(client.lastError() != EAGAIN);
    }
    client.close();
    CHECK(eventually([&] { return reported == error; }));
    Faults::disarm();
  }
}

// "When the destructor returns, no callback runs any more": the callback that tells of a complete
// write was on its way, and came after it.
TEST_CASE("regress: no callback comes after the server was destroyed in one") {
  std::atomic<bool> destroyed{false};
  std::atomic<bool> late{false};
  ServerThread* owner = nullptr;
  ServerThread server([&](TcpServer& s) {
    s.setMessageCallback([&](const TcpConnectionPtr& connection, Buffer& buffer, Timestamp) {
      connection->send(buffer);
      owner->ownership().reset();
      destroyed = true;
    });
    s.setWriteCompleteCallback([&](const TcpConnectionPtr&) { late = destroyed.load(); });
  });
  owner = &server;
  Client client(server.address());
  client.send("x");
  CHECK(client.receiveAll() == "x");
  server.inLoop([] {});
  server.inLoop([] {});
  CHECK(destroyed);
  CHECK_FALSE(late);
}

// The same with stop(): its task waited in the loop, and called `done` of a server that was gone.
TEST_CASE("regress: a stop that the loop has not come to dies with the server") {
  EventLoop loop;
  auto server = std::make_unique<TcpServer>(&loop, InetAddress::loopback(0), "short-lived");
  server->start();
  bool called = false;
  server->stop(1s, [&](TcpServer::StopResult) { called = true; });
  server.reset();
  loop.quit();
  loop.loop();
  CHECK_FALSE(called);
}

// A connection that is accepted and on its way to its loop, which is busy, was in no count: stop()
// told of fewer than it had drained, and connectionCount() was 0 with a client served soon after.
TEST_CASE("regress: a connection on its way to a busy loop counts") {
  const Faults::Spare clients;
  CountDownLatch busy(1);
  CountDownLatch goOn(1);
  std::promise<TcpServer::StopResult> stopped;
  EventLoop* io = nullptr;
  ServerThread server(
      [&](TcpServer& s) {
        s.setThreadInitCallback([&](EventLoop* loop) { io = loop; });
        s.setMessageCallback(echo);
      },
      1);
  io->queueInLoop([&] {
    busy.countDown();
    goOn.wait();
  });
  busy.wait();
  Faults::arm(FaultPlan{});  // to see that it was accepted
  Client client(server.address());
  CHECK(eventually([] { return Faults::counts().of(Call::accept4) > 0; }));
  Faults::disarm();
  server.inLoop([] {});  // and handed over
  CHECK(server.server().connectionCount() == 1);
  server.server().stop(10s, [&](TcpServer::StopResult result) { stopped.set_value(result); });
  server.inLoop([] {});
  goOn.countDown();
  CHECK(client.receiveAll().empty());
  client.close();
  const TcpServer::StopResult result = stopped.get_future().get();
  CHECK(result.drained == 1);
  CHECK(result.cut == 0);
}

// Where the loop was gone before its connection arrived, the count stayed one too high, for good.
TEST_CASE("regress: a connection whose loop ends before it arrives counts no more, and is closed") {
  CountDownLatch lastRound(1);
  CountDownLatch goOn(1);
  EventLoop* io = nullptr;
  ServerThread server(
      [&](TcpServer& s) { s.setThreadInitCallback([&](EventLoop* loop) { io = loop; }); }, 1);
  io->queueInLoop([&] {
    io->quit();
    io->queueInLoop([&] {  // runs after the last wait; what is posted meanwhile does not
      lastRound.countDown();
      goOn.wait();
    });
  });
  lastRound.wait();
  Client client(server.address());
  CHECK(eventually([&] { return server.server().connectionCount() == 1; }));
  goOn.countDown();
  CHECK(eventually([&] { return server.server().connectionCount() == 0; }));
  CHECK(client.receiveAll().empty());
}

// A send was on its way when one before it failed. It was written all the same: the peer would have
// seen a stream with a hole.
TEST_CASE("regress: after a write that failed nothing is sent of what was on its way") {
  const Faults::Spare clients;
  Observed f;
  const TcpConnectionPtr connection = f.connection();
  {
    const BlockedLoop loop(f.server.loop());
    CHECK(connection->send("lost"));
    CHECK(connection->send("must not follow"));
    Faults::arm(FaultPlan::scriptOf(Call::send, {ENOBUFS}));
  }
  CHECK(f.client.receiveAll().empty());
  CHECK(f.ended() == ENOBUFS);
  Faults::disarm();
  CHECK(connection->closeReason() == rung::CloseReason::writeFailed);
  CHECK(connection->outputBytes() == 19);  // all that was accepted and is lost
}

// The callback is looked up when its time comes, and there may be none any more: an empty
// std::function was called, and the exception ended the process.
TEST_CASE("regress: a callback may be taken away while a call of it is on its way") {
  const ChildResult child = runInChild([] {
    EventLoop loop;
    TcpServer server(&loop, InetAddress::loopback(0), "test");
    server.setWriteCompleteCallback([](const TcpConnectionPtr&) {});
    server.setHighWaterMarkCallback([](const TcpConnectionPtr&, std::size_t) {});
    server.setLimits({.highWaterMark = 1, .lowWaterMark = 0});
    server.setMessageCallback([&](const TcpConnectionPtr& connection, Buffer&, Timestamp) {
      connection->send("small");
      changeCallbacks(*connection, [](ConnectionCallbacks& c) { c.writeComplete = nullptr; });
      connection->send(std::string(64 << 20, 'x'));
      changeCallbacks(*connection, [](ConnectionCallbacks& c) { c.highWaterMark = nullptr; });
      loop.queueInLoop([&] { loop.quit(); });
    });
    server.start();
    Client client(server.listenAddress());
    client.send("x");
    loop.loop();
  });
  CAPTURE(child.output);
  CHECK(child.exitedWith(0));
}

// 64 MiB and more waited for one slow reader before anything was said.
TEST_CASE("regress: output and input are each bounded at 1 MiB unless one says otherwise") {
  const rung::ConnectionLimits limits;
  CHECK(limits.highWaterMark == 1 << 20);
  CHECK(limits.lowWaterMark < limits.highWaterMark);
  CHECK(limits.pauseReading);
  CHECK(limits.maxInput == 1 << 20);
}

// epoll reports hang-ups of a descriptor with events = 0, too: a connection that nobody reads from
// kept the loop awake from the moment on when its peer was gone.
TEST_CASE("regress: a peer that goes while nothing is read does not make the loop spin") {
  const Faults::Spare clients;
  std::promise<TcpConnectionPtr> stopped;
  std::atomic<int> error{-1};
  ServerThread server([&](TcpServer& s) {
    s.setConnectionCallback([&](const TcpConnectionPtr& connection) {
      if (!connection->connected()) {
        error = connection->error();
        return;
      }
      connection->stopRead();
      stopped.set_value(connection);
    });
  });
  Client client(server.address());
  const TcpConnectionPtr connection = stopped.get_future().get();
  client.reset();
  Faults::arm(FaultPlan{});
  // Not to synchronise: it is the time in which the loop could spin.
  std::this_thread::sleep_for(50ms);
  CHECK(Faults::disarm().of(Call::epollWait) <= 10);
  connection->startRead();
  CHECK(eventually([&] { return error == ECONNRESET; }));
}

// What is sent after shutdown(), while earlier bytes still wait, was not promised to anybody.
TEST_CASE("regress: send after shutdown says no and sends nothing, also while output waits") {
  const Faults::Spare clients;
  bool hereTaken = true;
  std::promise<TcpConnectionPtr> shutDown;
  ServerThread server([&](TcpServer& s) {
    s.setMessageCallback([&](const TcpConnectionPtr& connection, Buffer&, Timestamp) {
      connection->send("first");
      connection->shutdown();
      hereTaken = connection->send("late");
      shutDown.set_value(connection);
    });
  });
  Client client(server.address());
  Faults::arm(FaultPlan::scriptOf(Call::send, {EAGAIN}));  // so that it waits
  client.send("x");
  CHECK_FALSE(shutDown.get_future().get()->send("later, from another thread"));
  CHECK_FALSE(hereTaken);
  CHECK(client.receiveAll() == "first");
  Faults::disarm();
}

TEST_CASE("regress: the water marks themselves count as reached") {
  constexpr std::size_t kMark = 1000;
  const Faults::Spare clients;
  std::atomic<std::size_t> high{0};
  std::atomic<int> low{0};
  ServerThread server([&](TcpServer& s) {
    s.setLimits({.highWaterMark = kMark, .lowWaterMark = 0});
    s.setMessageCallback(echo);
    s.setHighWaterMarkCallback([&](const TcpConnectionPtr&, std::size_t bytes) { high = bytes; });
    s.setLowWaterMarkCallback([&](const TcpConnectionPtr&, std::size_t) { ++low; });
  });
  Client client(server.address());
  const std::string message = pattern(kMark);
  Faults::arm(FaultPlan::scriptOf(Call::send, {EAGAIN}));  // so that all of it waits
  client.send(message);
  CHECK(client.receive(kMark) == message);
  Faults::disarm();
  CHECK(eventually([&] { return high == kMark && low == 1; }));
  client.send("read again");
  CHECK(client.receive(10) == "read again");
}

std::atomic<int> linesLogged{0};

// A rewrite logged a line at each return of poll(2). What peers do must not fill a disk.
TEST_CASE("regress: ordinary service, resets and half-closes log no line") {
  linesLogged = 0;
  {
    ServerThread server([](TcpServer& s) { s.setMessageCallback(echo); }, 1);
    rung::Logger::setOutput([](std::string_view) { ++linesLogged; });
    for (int i = 0; i < 30; ++i) {
      Client client(server.address());
      client.send("hello");
      CHECK(client.receive(5) == "hello");
      if (i % 3 == 0) client.reset();
      if (i % 3 == 1) client.shutdownWrite();
    }
    CHECK(eventually([&] { return server.server().connectionCount() == 0; }));
  }
  rung::Logger::setOutput(nullptr);
  CHECK(linesLogged == 0);
}

}  // namespace
