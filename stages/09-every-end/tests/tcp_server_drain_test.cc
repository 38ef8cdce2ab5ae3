// What stop() asks of connections that have something left to do.

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "tests/support/Allocations.h"
#include "tests/support/Client.h"
#include "tests/support/Observed.h"
#include "tests/support/ServerThread.h"
#include "tests/support/Stop.h"

using namespace std::chrono_literals;
using rung::Buffer;
using rung::CloseReason;
using rung::EventLoop;
using rung::TcpConnectionPtr;
using rung::TcpServer;
using rung::Timestamp;
using rung::testing::BlockedLoop;
using rung::testing::Client;
using rung::testing::connectClients;
using rung::testing::echo;
using rung::testing::eventually;
using rung::testing::NoMemory;
using rung::testing::Observed;
using rung::testing::ServerThread;
using rung::testing::Stop;

namespace {

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
    const int before = drains;
    CHECK(before >= 1);
    server.inLoop([] {});
    CHECK(drains == (threads == 0 ? 1 : before));
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

}  // namespace
