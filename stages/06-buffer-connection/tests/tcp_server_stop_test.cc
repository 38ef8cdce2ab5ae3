// The end of a server: what stop() asks of its connections and how it counts them, stopAccepting(),
// and destruction on threads that might wait for each other.

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "rung/base/CountDownLatch.h"

#include "tests/support/Allocations.h"
#include "tests/support/ChildProcess.h"
#include "tests/support/Client.h"
#include "tests/support/Observed.h"
#include "tests/support/ServerThread.h"

using namespace std::chrono_literals;
using rung::Buffer;
using rung::CloseReason;
using rung::CountDownLatch;
using rung::EventLoop;
using rung::EventLoopThread;
using rung::InetAddress;
using rung::TcpConnectionPtr;
using rung::TcpServer;
using rung::Timestamp;
using rung::testing::BlockedLoop;
using rung::testing::Client;
using rung::testing::echo;
using rung::testing::eventually;
using rung::testing::NoMemory;
using rung::testing::Observed;
using rung::testing::runInChild;
using rung::testing::ServerThread;

namespace {

using Clock = std::chrono::steady_clock;

/// A stop() that is under way.
class Stop {
 public:
  template <class Rep, class Period>
  Stop(TcpServer& server, std::chrono::duration<Rep, Period> deadline) {
    server.stop(deadline, [result = result_](TcpServer::StopResult r) { result->set_value(r); });
  }
  TcpServer::StopResult wait() { return result_->get_future().get(); }

 private:
  const std::shared_ptr<std::promise<TcpServer::StopResult>> result_ =
      std::make_shared<std::promise<TcpServer::StopResult>>();
};

std::vector<std::unique_ptr<Client>> connectClients(const InetAddress& server, int count) {
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < count; ++i) {
    clients.push_back(std::make_unique<Client>(server));
    clients.back()->send("x");
    CHECK(clients.back()->receive(1) == "x");
  }
  return clients;
}

// It shut them down at once: requests that were in the kernel already, unread, got no answer, 58 of
// them in one rolling restart.
TEST_CASE("TcpServer stop: requests that have arrived when it begins are answered") {
  EventLoop* io = nullptr;
  ServerThread server(
      [&](TcpServer& s) {
        s.setThreadInitCallback([&](EventLoop* loop) { io = loop; });
        s.setMessageCallback(echo);
      },
      1);
  const auto clients = connectClients(server.address(), 20);
  std::unique_ptr<Stop> stop;
  {
    // What the stop asks of this loop comes before it looks at its sockets.
    const BlockedLoop loop(io, [&] {
      stop = std::make_unique<Stop>(server.server(), 30s);
      server.inLoop([] {});
    });
    for (const auto& client : clients)
      client->send("request");
  }
  for (const auto& client : clients) {
    CHECK(client->receiveAll() == "request");
    client->close();
  }
  CHECK(stop->wait().drained == 20);
}

// Each protocol has its own way to end: a last answer, a GOAWAY, a close_notify.
TEST_CASE("TcpServer stop: the drain callback comes once for each, on its loop, and decides") {
  for (const int threads : {0, 2}) {
    CAPTURE(threads);
    std::atomic<int> calls{0};
    std::atomic<int> onOtherThreads{0};
    ServerThread server(
        [&](TcpServer& s) {
          s.setMessageCallback([](const TcpConnectionPtr& c, Buffer& buffer, Timestamp) {
            if (buffer.retrieveAllAsString() == "x") return static_cast<void>(c->send("x"));
            c->send("last answer");
            c->shutdown();
          });
          s.setDrainCallback([&](const TcpConnectionPtr& c) {
            ++calls;
            onOtherThreads += !c->loop()->isInLoopThread();
            c->send("going away");
          });
        },
        threads);
    const auto clients = connectClients(server.address(), 6);
    Stop stop(server.server(), 30s);
    Stop again(server.server(), 30s);
    for (const auto& client : clients)
      CHECK(client->receive(10) == "going away");
    CHECK(server.server().connectionCount() == 6);  // nobody shut them down
    for (const auto& client : clients) {
      client->send("last question");
      CHECK(client->receiveAll() == "last answer");
      client->close();
    }
    CHECK(stop.wait().drained == 6);
    CHECK(again.wait().drained == 6);
    CHECK(calls == 6);
    CHECK(onOtherThreads == 0);
  }
}

// Each of them ended the process: what the base loop makes for a stop(), and what it sends its
// sets.
TEST_CASE("TcpServer stop: without memory for it, it asks again, and each connection once") {
  for (const int threads : {0, 2}) {
    for (int granted = 0; granted < 6; ++granted) {
      CAPTURE(threads);
      CAPTURE(granted);
      std::atomic<int> drains{0};
      ServerThread server(
          [&](TcpServer& s) {
            s.setMessageCallback(echo);
            s.setDrainCallback([&](const TcpConnectionPtr& c) {
              ++drains;
              c->shutdown();
            });
          },
          threads);
      const auto clients = connectClients(server.address(), 3);
      std::optional<Stop> stop;
      std::optional<NoMemory> none;  // of the base loop, and with 0 threads of the connections
      server.inLoop([&] {
        stop.emplace(server.server(), 30s);
        none.emplace(granted, 3);
      });
      for (const auto& client : clients) {
        CHECK(client->receiveAll().empty());
        client->close();
      }
      CHECK(stop->wait().drained == 3);
      server.inLoop([&] { none.reset(); });
      CHECK(drains == 3);
    }
  }
}

TEST_CASE("TcpServer stop: without memory at its deadline it cuts as soon as there is some") {
  for (int granted = 0; granted < 4; ++granted) {
    CAPTURE(granted);
    ServerThread server([&](TcpServer& s) {
      s.setMessageCallback(echo);
      s.setDrainCallback([](const TcpConnectionPtr&) {});  // nobody ends
    });
    const auto clients = connectClients(server.address(), 3);
    std::optional<Stop> stop;
    std::optional<NoMemory> none;
    server.inLoop([&] {
      stop.emplace(server.server(), 0s);
      none.emplace(granted, 3);
    });
    CHECK(stop->wait().cut == 3);
    server.inLoop([&] { none.reset(); });
  }
}

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

TEST_CASE("TcpServer stop: a connection that was on its way to its loop is asked as well") {
  EventLoop* io = nullptr;
  std::atomic<int> drains{0};
  ServerThread server(
      [&](TcpServer& s) {
        s.setThreadInitCallback([&](EventLoop* loop) { io = loop; });
        s.setMessageCallback(echo);
        s.setDrainCallback([&](const TcpConnectionPtr& c) {
          ++drains;
          c->shutdown();
        });
      },
      1);
  std::unique_ptr<Client> client;
  std::unique_ptr<Stop> stop;
  {
    const BlockedLoop loop(io);
    client = std::make_unique<Client>(server.address());
    CHECK(eventually([&] { return server.server().connectionCount() == 1; }));
    stop = std::make_unique<Stop>(server.server(), 30s);
    server.inLoop([] {});
  }
  CHECK(client->receiveAll().empty());
  client->close();
  CHECK(stop->wait().drained == 1);
  CHECK(drains == 1);
}

TEST_CASE("TcpServer stop: the server is destroyed by a drain callback, and none comes after it") {
  for (const int threads : {0, 1}) {
    CAPTURE(threads);
    std::atomic<int> drains{0};
    std::atomic<ServerThread*> self{nullptr};
    ServerThread server(
        [&](TcpServer& s) {
          s.setMessageCallback(echo);
          s.setDrainCallback([&](const TcpConnectionPtr& c) {
            CHECK(c->connected());
            if (++drains == 1) self.load()->ownership().reset();
          });
        },
        threads);
    self = &server;
    const auto clients = connectClients(server.address(), 3);
    server.server().stop(30s);
    for (const auto& client : clients)
      CHECK(client->receiveAll().empty());
    server.inLoop([] {});
    if (threads == 0) CHECK(drains == 1);
  }
}

// What the peer did not get is not drained, whoever ended the connection; so also if it ends before
// its loop has heard of the stop.
TEST_CASE("TcpServer stop: a reset with output unsent counts as cut") {
  for (const bool early : {false, true}) {
    CAPTURE(early);
    EventLoop* io = nullptr;
    Observed f([&](TcpServer& s) { s.setThreadInitCallback([&](EventLoop* loop) { io = loop; }); },
               1);
    const TcpConnectionPtr connection = f.connection();
    connection->send(std::string(20 << 20, 'x'));
    ServerThread::runOn(io, [] {});
    std::unique_ptr<Stop> stop;
    {
      const BlockedLoop loop(io);
      if (early) f.client.reset();  // the loop looks at its sockets before its tasks
      stop = std::make_unique<Stop>(f.server.server(), 30s);
      f.server.inLoop([] {});
    }
    ServerThread::runOn(io, [] {});
    if (!early) f.client.reset();
    const TcpServer::StopResult result = stop->wait();
    CHECK(result.cut == 1);
    CHECK(result.drained == 0);
    CHECK(connection->closeReason() == CloseReason::reset);
    CHECK(connection->outputBytes() > 5 << 20);
  }
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

TEST_CASE("TcpServer stop: is answered when an I/O loop has been quit, before it or meanwhile") {
  for (const bool before : {true, false}) {
    CAPTURE(before);
    std::vector<EventLoop*> loops;
    ServerThread server(
        [&](TcpServer& s) {
          s.setMessageCallback(echo);
          s.setThreadInitCallback([&](EventLoop* loop) { loops.push_back(loop); });
        },
        2);
    const auto clients = connectClients(server.address(), 2);
    std::unique_ptr<Stop> stop;
    if (!before) {
      stop = std::make_unique<Stop>(server.server(), 1h);
      CHECK(clients[0]->receiveAll().empty());  // its FIN: the stop has reached the loop
      CHECK(clients[1]->receiveAll().empty());
    }
    loops[0]->quit();
    CHECK(eventually([&] { return server.server().connectionCount() == 1; }));
    if (before) stop = std::make_unique<Stop>(server.server(), 1h);
    for (const auto& client : clients) {
      CHECK(client->receiveAll().empty());
      client->close();
    }
    const TcpServer::StopResult result = stop->wait();
    CHECK(result.drained == 1);
    CHECK(result.cut == (before ? 0 : 1));
  }
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
    ServerThread server([](TcpServer& s) { s.setMessageCallback(echo); });
    std::vector<std::unique_ptr<Client>> clients;
    {
      const BlockedLoop loop(server.loop(), [&] {
        stops ? server.server().stop(30s) : server.server().stopAccepting();
      });
      for (int i = 0; i < 10; ++i) {
        clients.push_back(std::make_unique<Client>(server.address()));
        clients.back()->send("x");
      }
    }
    for (const auto& client : clients)
      CHECK(client->receive(1) == "x");
  }
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
  CHECK(child.says("TcpServer lonely without an EventLoop"));
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
