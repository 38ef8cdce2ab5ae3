// The end of a server: what stop() asks of its connections and how it counts them, stopAccepting(),
// and destruction on threads that might wait for each other.

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <new>
#include <stdexcept>
#include <thread>
#include <vector>

#include "rung/base/CountDownLatch.h"

#include "tests/support/Allocations.h"
#include "tests/support/ChildProcess.h"
#include "tests/support/Client.h"
#include "tests/support/Observed.h"
#include "tests/support/ServerThread.h"
#include "tests/support/Stop.h"

using namespace std::chrono_literals;
using rung::Buffer;
using rung::CountDownLatch;
using rung::EventLoop;
using rung::EventLoopThread;
using rung::InetAddress;
using rung::TcpConnectionPtr;
using rung::TcpServer;
using rung::Timestamp;
using rung::testing::BlockedLoop;
using rung::testing::Client;
using rung::testing::connectClients;
using rung::testing::echo;
using rung::testing::eventually;
using rung::testing::NoMemory;
using rung::testing::runInChild;
using rung::testing::ServerThread;
using rung::testing::Stop;

namespace {

using Clock = std::chrono::steady_clock;

TEST_CASE("TcpServer: destroyed on its loop it waits for the memory that this takes") {
  ServerThread server([&](TcpServer& s) { s.setMessageCallback(echo); }, 1);
  const auto clients = connectClients(server.address(), 3);
  server.inLoop([&] {
    try {
      const NoMemory none;
      for (;;)  // until there is no room for one more
        server.loop()->queueInLoop([] {});
    } catch (const std::bad_alloc&) {
      const NoMemory atFirst(0, 3);
      server.ownership().reset();
    }
  });
  CHECK(server.ownership() == nullptr);
  for (const auto& client : clients)
    CHECK(client->receiveAll().empty());
}

// It waited for the loop, and that for its callback: 3 s after a deadline of 200 ms.
TEST_CASE("TcpServer stop: is answered though an I/O loop is stuck, whose connections are cut") {
  CountDownLatch stuck(1);
  CountDownLatch goOn(1);
  ServerThread server(
      [&](TcpServer& s) {
        s.setMessageCallback([&](const TcpConnectionPtr& c, Buffer& buffer, Timestamp) {
          if (buffer.view() == "stick") {
            stuck.countDown();
            goOn.wait();
          }
          c->send(buffer);
        });
      },
      2);
  const auto clients = connectClients(server.address(), 4);
  clients[1]->send("stick");
  stuck.wait();
  clients[0]->close();
  clients[2]->close();
  CHECK(eventually([&] { return server.server().connectionCount() == 2; }));
  const auto before = Clock::now();
  Stop stop(server.server(), 50ms);
  const TcpServer::StopResult result = stop.wait();
  CHECK(Clock::now() - before >= 50ms);
  CHECK(result.cut == 2);
  CHECK(result.drained == 0);
  goOn.countDown();
  CHECK(clients[3]->receiveAll().empty());  // its cut came, late
}

TEST_CASE("TcpServer stop: without an end waits for ever") {
  ServerThread server([](TcpServer& s) { s.setMessageCallback(echo); });
  auto clients = connectClients(server.address(), 1);
  std::atomic<bool> answered{false};
  server.server().stop(std::chrono::hours::max(), [&](auto) { answered = true; });
  CHECK(clients[0]->receiveAll().empty());
  for (int i = 0; i < 10; ++i)
    server.inLoop([] {});
  CHECK_FALSE(answered);  // it overflowed, and cut everybody at once
  clients.clear();
  CHECK(eventually([&] { return answered.load(); }));
}

TEST_CASE("TcpServer stopAccepting: those that are there live on, and the port is free") {
  for (const int threads : {0, 1}) {
    ServerThread server([](TcpServer& s) { s.setMessageCallback(echo); }, threads);
    const auto clients = connectClients(server.address(), 2);
    server.server().stopAccepting();
    server.server().stopAccepting();
    server.inLoop([&] {
      CHECK_THROWS_AS(server.server().start(), std::logic_error);
      TcpServer successor(server.loop(), server.address(), "successor");
      successor.start();
    });
    for (const auto& client : clients) {
      client->send("still here");
      CHECK(client->receive(10) == "still here");
    }
    CHECK_FALSE(Client(server.address()).connected());
    Stop stop(server.server(), 30s);
    for (const auto& client : clients) {
      CHECK(client->receiveAll().empty());
      client->close();
    }
    CHECK(stop.wait().drained == 2);
  }
}

// The kernel has told their peers that they are connected.
TEST_CASE("TcpServer stopAccepting: who waits in the kernel's queue is served, so also by stop()") {
  for (const bool stops : {false, true}) {
    CAPTURE(stops);
    std::promise<TcpServer::StopResult> done;
    ServerThread server([](TcpServer& s) { s.setMessageCallback(echo); });
    std::vector<std::unique_ptr<Client>> clients;
    {
      const BlockedLoop loop(server.loop(), [&] {
        if (!stops) return server.server().stopAccepting();
        server.server().stop(30s, [&](TcpServer::StopResult result) { done.set_value(result); });
      });
      for (int i = 0; i < 10; ++i) {
        clients.push_back(std::make_unique<Client>(server.address()));
        clients.back()->send("x");
      }
    }
    for (const auto& client : clients)
      CHECK(client->receive(1) == "x");
    clients.clear();
    if (stops) CHECK(done.get_future().get().drained == 10);  // those that waited count, too
  }
}

// The stop went on with a server that was gone.
TEST_CASE("TcpServer stop: the server is destroyed by the callback of one that waited") {
  ServerThread* self = nullptr;
  ServerThread server([&](TcpServer& s) {
    s.setConnectionCallback([&](const TcpConnectionPtr&) { self->ownership().reset(); });
  });
  self = &server;
  std::vector<std::unique_ptr<Client>> clients;
  {
    const BlockedLoop loop(server.loop(), [&] { server.server().stop(30s); });
    for (int i = 0; i < 3; ++i)
      clients.push_back(std::make_unique<Client>(server.address()));
  }
  for (const auto& client : clients)
    CHECK(client->receiveAll().empty());
}

// Each destructor waited for the other's loop, which waited in the other destructor. A child, since
// a hang would last.
TEST_CASE("TcpServer: two loops may each destroy the other's server") {
  const auto child = runInChild([] {
    for (const int threads : {0, 1}) {
      EventLoopThread threadA;
      EventLoopThread threadB;
      EventLoop* const loopA = threadA.startLoop();
      EventLoop* const loopB = threadB.startLoop();
      std::unique_ptr<TcpServer> a;
      std::unique_ptr<TcpServer> b;
      const auto make = [&](std::unique_ptr<TcpServer>& server, EventLoop* loop) {
        ServerThread::runOn(loop, [&] {
          server = std::make_unique<TcpServer>(loop, InetAddress::loopback(0), "test");
          server->setThreadNum(threads);
          server->start();
        });
      };
      make(a, loopA);
      make(b, loopB);
      CountDownLatch both(2);
      CountDownLatch done(2);
      const auto destroy = [&](std::unique_ptr<TcpServer>& server) {
        both.countDown();
        both.wait();
        server.reset();
        done.countDown();
      };
      loopA->queueInLoop([&] { destroy(b); });
      loopB->queueInLoop([&] { destroy(a); });
      done.wait();
    }
  });
  CHECK_MESSAGE(child.exitedWith(0), child.status << " " << child.output);
}

// The same with one base loop: an I/O thread of each destroys the other server, or the base loop
// ends the I/O threads of one that destroys the other.
TEST_CASE("TcpServer: two servers of one loop may be destroyed by each other's I/O threads") {
  for (const bool fromBase : {false, true}) {
    CAPTURE(fromBase);
    const auto child = runInChild([fromBase] {
      EventLoopThread base;
      EventLoop* const loop = base.startLoop();
      std::unique_ptr<TcpServer> servers[2];
      EventLoop* ios[2] = {};
      ServerThread::runOn(loop, [&] {
        for (int i = 0; i < 2; ++i) {
          servers[i] = std::make_unique<TcpServer>(loop, InetAddress::loopback(0), "test");
          servers[i]->setThreadNum(1);
          servers[i]->setThreadInitCallback([&ios, i](EventLoop* io) { ios[i] = io; });
          servers[i]->start();
        }
      });
      CountDownLatch both(2);
      CountDownLatch done(2);
      const auto destroy = [&](std::unique_ptr<TcpServer>& server) {
        both.countDown();
        both.wait();
        server.reset();
        done.countDown();
      };
      ios[0]->queueInLoop([&] { destroy(servers[1]); });
      (fromBase ? loop : ios[1])->queueInLoop([&] { destroy(servers[0]); });
      done.wait();
    });
    CHECK_MESSAGE(child.exitedWith(0), child.status << " " << child.output);
  }
}

// As the header says: the I/O threads go on, with their callbacks, until the base loop runs.
TEST_CASE("TcpServer: destroyed elsewhere while its loop rests, it ends when that runs again") {
  EventLoop loop;
  std::atomic<int> downs{0};
  auto server = std::make_unique<TcpServer>(&loop, InetAddress::loopback(0), "resting");
  server->setThreadNum(1);
  server->setMessageCallback(echo);
  server->setConnectionCallback([&](const TcpConnectionPtr& c) { downs += !c->connected(); });
  server->start();
  std::unique_ptr<Client> client;
  std::thread peer([&] {
    client = std::make_unique<Client>(server->listenAddress());
    client->send("x");
    CHECK(client->receive(1) == "x");
    loop.quit();
  });
  loop.loop();
  peer.join();
  std::thread other([&] { server.reset(); });
  other.join();
  client->send("y");
  CHECK(client->receive(1) == "y");
  CHECK(downs == 0);
  loop.queueInLoop([&] { loop.quit(); });
  loop.loop();
  CHECK(downs == 1);
  CHECK(client->receiveAll().empty());
}

TEST_CASE("TcpServer: without a loop aborts, and names the server") {
  const auto child =
      runInChild([] { TcpServer(nullptr, InetAddress::loopback(0), "lonely").start(); });
  CHECK(child.aborted());
  CHECK(child.says("lonely"));
}

// A loop with static storage is destroyed after the thread-local objects of its thread, which it
// went on to use.
TEST_CASE("TcpServer: server, loop and connection may live in static storage") {
  const auto child = runInChild([] {
    static EventLoop loop;
    static TcpServer server(&loop, InetAddress::loopback(0), "static");
    static TcpConnectionPtr kept;
    server.setMessageCallback([](const TcpConnectionPtr& c, Buffer& buffer, Timestamp) {
      kept = c;
      c->send(buffer.retrieveAsString(1));  // and leaves the rest
      loop.quit();
    });
    server.start();
    Client client(server.listenAddress());
    client.send("xyz");
    loop.loop();
    client.shutdownWrite();
    std::exit(client.receive(1) == "x" ? 7 : 1);
  });
  CHECK_MESSAGE(child.exitedWith(7), child.status << " " << child.output);
}

}  // namespace
