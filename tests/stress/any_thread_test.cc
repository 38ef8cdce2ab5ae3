// Everything that may be called from any thread, called from several at once, against each other
// and against destruction. Mostly for TSan and ASan: what is asserted is that it ends, that nothing
// is left, and that what was promised to come has come.

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "rung/base/Mutex.h"
#include "rung/net/EventLoopThread.h"

#include "tests/stress/Crowd.h"
#include "tests/support/Client.h"
#include "tests/support/Process.h"
#include "tests/support/ServerThread.h"

using namespace std::chrono_literals;
using namespace rung::testing;
using rung::EventLoop;
using rung::EventLoopThread;
using rung::InetAddress;
using rung::Mutex;
using rung::MutexLock;
using rung::TcpConnectionPtr;
using rung::TcpServer;

namespace {

/// The connections of a server, for other threads to take hold of.
class Register {
 public:
  void note(const TcpConnectionPtr& connection) {
    const MutexLock lock(mutex_);
    if (connection->connected()) {
      all_.push_back(connection);
      ++ups_;
    } else {
      ++downs_;
    }
  }
  std::vector<TcpConnectionPtr> all() const {
    const MutexLock lock(mutex_);
    return all_;
  }
  bool balanced() const {
    const MutexLock lock(mutex_);
    return ups_ == downs_;
  }

 private:
  mutable Mutex mutex_;
  std::vector<TcpConnectionPtr> all_ RUNG_GUARDED_BY(mutex_);
  int ups_ RUNG_GUARDED_BY(mutex_) = 0;
  int downs_ RUNG_GUARDED_BY(mutex_) = 0;
};

/// One of the calls that any thread may make.
void anyCall(const TcpConnectionPtr& connection, std::uint64_t which) {
  switch (which % 9) {
    case 0:
      connection->forceClose();
      break;
    case 1:
      connection->shutdown();
      break;
    case 2:
      connection->stopRead();
      break;
    case 3:
      connection->startRead();
      break;
    case 4:
      (void)connection->connected();
      (void)connection->name();
      break;
    case 5:
      connection->send(std::string(100000, 'x'));
      break;
    default:
      connection->send("some text");
  }
}

TEST_CASE("stress: send, shutdown, forceClose and the rest race with each other and the peer") {
  for (int round = 0; round < rounds(40); ++round) {
    Register connections;
    ServerThread server(
        [&](TcpServer& s) {
          s.setConnectionCallback([&](const TcpConnectionPtr& c) { connections.note(c); });
          s.setMessageCallback(echo);
        },
        round % 3);
    std::vector<std::unique_ptr<Client>> clients;
    for (int i = 0; i < 4; ++i)
      clients.push_back(std::make_unique<Client>(server.address()));
    REQUIRE(eventually([&] { return connections.all().size() == clients.size(); }));
    {
      Crowd crowd(4);
      for (unsigned seed = 0; seed < 3; ++seed) {
        crowd.add([&, seed] {
          std::minstd_rand random(seed + static_cast<unsigned>(round) * 7 + 1);
          for (int i = 0; i < 30; ++i) {
            for (const TcpConnectionPtr& connection : connections.all())
              anyCall(connection, random());
          }
        });
      }
      crowd.add([&] {
        for (std::size_t i = 0; i < clients.size(); ++i) {
          clients[i]->send("hello");
          i % 2 == 0 ? clients[i]->reset() : clients[i]->close();
        }
      });
    }
    for (const TcpConnectionPtr& connection : connections.all())
      connection->startRead();  // or the end of the stream is not seen
    CHECK(eventually([&] { return server.server().connectionCount() == 0; }));
    CHECK(eventually([&] { return connections.balanced(); }));
  }
}

TEST_CASE("stress: calls on connections race with the destruction of server and loops") {
  for (int round = 0; round < rounds(60); ++round) {
    Register connections;
    auto server = std::make_unique<ServerThread>(
        [&](TcpServer& s) {
          s.setConnectionCallback([&](const TcpConnectionPtr& c) { connections.note(c); });
          s.setMessageCallback(echo);
        },
        round % 3);
    Client one(server->address());
    Client two(server->address());
    REQUIRE(eventually([&] { return connections.all().size() == 2; }));
    const auto kept = connections.all();
    {
      Crowd crowd(3);
      for (unsigned seed = 0; seed < 2; ++seed) {
        crowd.add([&, seed] {
          std::minstd_rand random(seed + 1);
          for (int i = 0; i < 100; ++i)
            anyCall(kept[random() % kept.size()], random());
        });
      }
      crowd.add([&] {
        if (round % 2 == 0) server->ownership().reset();  // on a thread that runs no loop
        server.reset();
      });
    }
    for (const TcpConnectionPtr& connection : kept) {
      CHECK_FALSE(connection->connected());
      CHECK_FALSE(connection->send("too late"));
    }
    CHECK(connections.balanced());
  }
}

TEST_CASE("stress: several stops race, with connections that come and go; each is answered") {
  for (int round = 0; round < rounds(40); ++round) {
    std::atomic<int> answered{0};
    ServerThread server([](TcpServer& s) { s.setMessageCallback(echo); }, round % 3);
    {
      Crowd crowd(4);
      for (int i = 0; i < 3; ++i) {
        crowd.add([&, i] {
          server.server().stop(std::chrono::milliseconds(i),
                               [&](TcpServer::StopResult) { ++answered; });
        });
      }
      crowd.add([&] {
        for (int i = 0; i < 5; ++i) {
          Client client(server.address());
          if (client.connected()) client.send("x");
        }
      });
    }
    CHECK(eventually([&] { return answered == 3; }));
    CHECK(eventually([&] { return server.server().connectionCount() == 0; }));
  }
}

// Servers that are stopped or destroyed at any moment of a connection's life.
TEST_CASE("stress: thousands of short-lived servers") {
  const std::size_t before = descriptorCount();
  const int total = rounds(2000);
  {
    EventLoopThread base;
    EventLoop* const loop = base.startLoop();
    for (int i = 0; i < total; ++i) {
      std::unique_ptr<TcpServer> server;
      ServerThread::runOn(loop, [&] {
        server = std::make_unique<TcpServer>(loop, InetAddress::loopback(0), "short");
        server->setThreadNum(i % 20 == 0 ? 2 : 0);
        server->setMessageCallback(echo);
        server->start();
      });
      Client client(server->listenAddress());
      if (i % 3 > 0) client.send("x");
      if (i % 3 == 2) (void)client.receive(1);
      if (i % 5 == 0) server->stop(1ms);
      if (i % 2 == 0) {
        server.reset();
      } else {
        ServerThread::runOn(loop, [&] { server.reset(); });
      }
      (void)client.receiveAll();  // to the end, however it ends
      REQUIRE(client.lastError() != EAGAIN);
    }
  }
  CHECK(descriptorCount() == before);
}

}  // namespace
