#include <doctest/doctest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <future>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "rung/base/CurrentThread.h"
#include "rung/base/Mutex.h"
#include "rung/net/TcpServer.h"

#include "tests/support/Allocations.h"
#include "tests/support/Asleep.h"
#include "tests/support/ChildProcess.h"
#include "tests/support/Client.h"
#include "tests/support/Ipv6.h"
#include "tests/support/Process.h"
#include "tests/support/ServerThread.h"
#include "tests/support/Stop.h"
#include "tests/support/Thrown.h"
#include "tests/support/UnluckyNewcomer.h"

using namespace std::chrono_literals;
using rung::Buffer;
using rung::EventLoop;
using rung::InetAddress;
using rung::Mutex;
using rung::MutexLock;
using rung::TcpConnectionPtr;
using rung::TcpServer;
using rung::Timestamp;
using rung::testing::checkUnluckyNewcomer;
using rung::testing::Client;
using rung::testing::connectClients;
using rung::testing::descriptorCount;
using rung::testing::echo;
using rung::testing::eventually;
using rung::testing::hasIpv6;
using rung::testing::mentions;
using rung::testing::NoMemory;
using rung::testing::runInChild;
using rung::testing::ServerThread;
using rung::testing::Stop;
using rung::testing::waitUntilAsleep;

namespace {

TEST_CASE("TcpServer: knows its port before start, and listens after") {
  EventLoop loop;
  TcpServer server(&loop, InetAddress::loopback(0), "early");
  CHECK(server.listenAddress().port() != 0);
  CHECK(server.name() == "early");
  CHECK_FALSE(Client(server.listenAddress()).connected());
  server.start();
  server.start();  // twice does no harm
  CHECK(Client(server.listenAddress()).connected());
}

TEST_CASE("TcpServer: spreads connections over its loops in turn") {
  Mutex mutex;
  std::vector<pid_t> served;
  const ServerThread server(
      [&](TcpServer& s) {
        s.setMessageCallback([&](const TcpConnectionPtr& c, Buffer& buffer, Timestamp) {
          const MutexLock lock(mutex);
          served.push_back(rung::CurrentThread::tid());
          c->send(buffer);
        });
      },
      3);
  const auto clients = connectClients(server.address(), 9);
  const MutexLock lock(mutex);
  REQUIRE(served.size() == 9);
  CHECK(std::set<pid_t>(served.begin(), served.end()).size() == 3);
  for (std::size_t i = 3; i < 9; ++i)
    CHECK(served[i] == served[i - 3]);
}

TEST_CASE("TcpServer: serves IPv6") {
  if (!hasIpv6()) {
    MESSAGE("skipped: no IPv6 here");
    return;
  }
  EventLoop loop;
  TcpServer server(&loop, InetAddress::loopback(0, AF_INET6), "six");
  server.setMessageCallback(echo);
  server.setConnectionCallback([&](const TcpConnectionPtr& c) {
    CHECK(c->peerAddress().isIpv6());
    if (!c->connected()) loop.quit();
  });
  server.start();
  std::thread client([&] {
    Client six(server.listenAddress());
    six.send("six");
    CHECK(six.receive(3) == "six");
  });
  loop.loop();
  client.join();
}

TEST_CASE("TcpServer: a taken port throws from the constructor and names it") {
  EventLoop loop;
  TcpServer first(&loop, InetAddress::loopback(0), "first");
  first.start();
  const std::string taken = first.listenAddress().toIpPort();
  try {
    const TcpServer second(&loop, first.listenAddress(), "second");
    FAIL("no exception");
  } catch (const std::system_error& e) {
    CHECK(e.code().value() == EADDRINUSE);
    CHECK(mentions(e.what(), {"bind", taken}));
  }
}

TEST_CASE("TcpServer: its port is free again as soon as it is destroyed") {
  EventLoop loop;
  auto server = std::make_unique<TcpServer>(&loop, InetAddress::loopback(0), "a");
  server->start();
  const InetAddress address = server->listenAddress();
  server.reset();  // the loop does not run, so nothing can be put off
  TcpServer successor(&loop, address, "b");
  successor.start();
}

TEST_CASE("TcpServer: settings after start abort, and a negative thread count throws") {
  const auto child = runInChild([] {
    EventLoop loop;
    TcpServer server(&loop, InetAddress::loopback(0), "late");
    server.start();
    server.setMessageCallback(echo);
  });
  CHECK(child.aborted());
  CHECK(child.says("late"));
  EventLoop loop;
  TcpServer server(&loop, InetAddress::loopback(0), "x");
  CHECK_THROWS_AS(server.setThreadNum(-1), std::invalid_argument);
}

TEST_CASE("TcpServer: counts its connections, on all loops, from any thread") {
  for (const int threads : {0, 2}) {
    ServerThread server([](TcpServer& s) { s.setMessageCallback(echo); }, threads);
    auto clients = connectClients(server.address(), 10);
    CHECK(server.server().connectionCount() == 10);
    clients.resize(4);
    CHECK(eventually([&] { return server.server().connectionCount() == 4; }));
    clients.clear();
    CHECK(eventually([&] { return server.server().connectionCount() == 0; }));
  }
}

TEST_CASE("TcpServer: stop drains: everybody gets the rest, then the end of the stream") {
  for (const int threads : {0, 2}) {
    CAPTURE(threads);
    ServerThread server(
        [](TcpServer& s) {
          s.setMessageCallback([](const TcpConnectionPtr& c, Buffer& buffer, Timestamp) {
            c->send(buffer);
            c->send(std::string(5 << 20, 'x'));  // more than the kernel takes at once
          });
        },
        threads);
    auto clients = connectClients(server.address(), 8);
    std::vector<std::thread> readers;
    for (auto& client : clients) {
      readers.emplace_back([&client] {
        CHECK(client->receiveAll().size() == 5 << 20);
        CHECK(client->lastError() == 0);
        client->close();
      });
    }
    const TcpServer::StopResult result = Stop(server.server(), 10s).wait();
    for (std::thread& reader : readers)
      reader.join();
    CHECK(result.drained == 8);
    CHECK(result.cut == 0);
    CHECK(server.server().connectionCount() == 0);
    CHECK_FALSE(Client(server.address()).connected());
  }
}

TEST_CASE("TcpServer: stop cuts at the deadline those who do not end, and counts them") {
  for (const int threads : {0, 2}) {
    CAPTURE(threads);
    ServerThread server([](TcpServer& s) { s.setMessageCallback(echo); }, threads);
    auto clients = connectClients(server.address(), 10);
    for (std::size_t i = 0; i < 4; ++i)
      clients[i]->close();
    CHECK(eventually([&] { return server.server().connectionCount() == 6; }));
    const TcpServer::StopResult result = Stop(server.server(), 30ms).wait();
    CHECK(result.drained == 0);
    CHECK(result.cut == 6);  // they never close their side
  }
}

TEST_CASE("TcpServer: stop before start, without connections, and twice") {
  ServerThread server([](TcpServer&) {}, 1);
  CHECK(Stop(server.server(), 10s).wait().cut == 0);
  CHECK(Stop(server.server(), 10s).wait().cut == 0);

  EventLoop loop;
  TcpServer unstarted(&loop, InetAddress::loopback(0), "unstarted");
  bool done = false;
  unstarted.stop(10s, [&](TcpServer::StopResult) {
    done = true;
    loop.quit();
  });
  loop.loop();
  CHECK(done);
}

// It did nothing, silently, and the server stayed deaf.
TEST_CASE("TcpServer: stop without a callback, and a start after it, which is refused") {
  ServerThread server([](TcpServer&) {});
  server.server().stop(10s, {});
  CHECK(Stop(server.server(), 10s).wait().cut == 0);
  server.server().stop(10s, {});
  server.inLoop([&] { CHECK_THROWS_AS(server.server().start(), std::logic_error); });
  CHECK_FALSE(Client(server.address()).connected());
}

TEST_CASE("TcpServer: a second stop while the first drains is answered together with it") {
  ServerThread server([](TcpServer& s) { s.setMessageCallback(echo); });
  const auto clients = connectClients(server.address(), 1);
  std::promise<void> first;
  std::promise<void> second;
  server.server().stop(50ms, [&](TcpServer::StopResult r) {
    CHECK(r.cut == 1);
    first.set_value();
  });
  server.server().stop(1h, [&](TcpServer::StopResult r) {
    CHECK(r.cut == 1);
    second.set_value();
  });
  first.get_future().get();
  second.get_future().get();
}

// It began anew, with the second deadline.
TEST_CASE("TcpServer: a second stop while the first drains does not change its deadline") {
  ServerThread server([](TcpServer& s) { s.setMessageCallback(echo); });
  const auto clients = connectClients(server.address(), 1);
  Stop first(server.server(), 1h);
  Stop second(server.server(), 0s);
  CHECK(clients[0]->receiveAll().empty());
  server.inLoop([] {});
  clients[0]->close();
  for (Stop* stop : {&first, &second}) {
    const TcpServer::StopResult result = stop->wait();
    CHECK(result.drained == 1);
    CHECK(result.cut == 0);
  }
}

TEST_CASE("TcpServer: who goes while it drains, with output unsent, counts as cut") {
  ServerThread server([](TcpServer& s) {
    s.setMessageCallback([](const TcpConnectionPtr& connection, Buffer& buffer, Timestamp) {
      connection->send(buffer);
      connection->send(std::string(20 << 20, 'x'));  // more than the kernel takes
    });
  });
  const auto clients = connectClients(server.address(), 3);
  CHECK(clients[0]->receive(20 << 20).size() == 20 << 20);
  clients[2]->close();  // before the stop, so it does not count
  CHECK(eventually([&] { return server.server().connectionCount() == 2; }));
  Stop stop(server.server(), 1h);
  server.inLoop([] {});  // it has begun
  clients[0]->close();
  clients[1]->close();
  const TcpServer::StopResult result = stop.wait();
  CHECK(result.drained == 1);
  CHECK(result.cut == 1);
}

TEST_CASE("TcpServer: destroyed in the callback of stop") {
  ServerThread server([](TcpServer& s) { s.setMessageCallback(echo); }, 1);
  const auto clients = connectClients(server.address(), 3);
  std::promise<void> done;
  server.server().stop(10ms, [&](TcpServer::StopResult) {
    server.ownership().reset();
    done.set_value();
  });
  done.get_future().get();
}

TEST_CASE("TcpServer: destroyed while it drains") {
  ServerThread server([](TcpServer& s) { s.setMessageCallback(echo); }, 2);
  const auto clients = connectClients(server.address(), 3);
  std::atomic<bool> called{false};
  server.server().stop(1h, [&](TcpServer::StopResult) { called = true; });
  server.destroyServer();
  CHECK_FALSE(called);
  for (const auto& client : clients)
    CHECK(client->receiveAll().empty());
}

// What stop() has asked of the connections is on its way, and keeps them from going with the
// server.
TEST_CASE("TcpServer: destroyed while it stops, in the callback that says that a peer is down") {
  EventLoop loop;
  auto server = std::make_unique<TcpServer>(&loop, InetAddress::loopback(0), "test");
  int downs = 0;
  server->setMessageCallback([&](const TcpConnectionPtr&, Buffer& buffer, Timestamp) {
    buffer.retrieveAll();
    server->stop(1h, {});
  });
  server->setConnectionCallback([&](const TcpConnectionPtr& connection) {
    if (connection->connected()) return;
    ++downs;
    server.reset();
    loop.quit();
  });
  server->start();
  Client client(server->listenAddress());
  client.send("x");
  client.shutdownWrite();
  loop.loop();
  CHECK(downs == 1);
  CHECK(client.receiveAll().empty());
}

// The I/O loop is busy. What it is told at the deadline, and answers, finds nobody there any more.
TEST_CASE("TcpServer: destroyed before an I/O loop says how many it has cut") {
  EventLoop* ioLoop = nullptr;
  ServerThread server(
      [&](TcpServer& s) {
        s.setMessageCallback(echo);
        s.setThreadInitCallback([&](EventLoop* loop) { ioLoop = loop; });
      },
      1);
  const auto clients = connectClients(server.address(), 1);
  std::promise<void> release;
  ioLoop->queueInLoop([future = release.get_future()]() mutable { future.get(); });
  std::atomic<bool> called{false};
  server.server().stop(0s, [&](TcpServer::StopResult) { called = true; });
  server.inLoop([] {});  // behind it
  server.inLoop([] {});  // the round in which its time has come
  server.inLoop([&] {
    release.set_value();
    server.ownership().reset();
  });
  server.inLoop([] {});
  CHECK_FALSE(called);
  CHECK(clients[0]->receiveAll().empty());
}

TEST_CASE("TcpServer: destroyed by another thread while its loop does not run") {
  EventLoop loop;
  auto server = std::make_unique<TcpServer>(&loop, InetAddress::loopback(0), "idle");
  server->start();
  const InetAddress address = server->listenAddress();
  std::thread other([&] { server.reset(); });
  other.join();  // it does not wait for a loop that may never run
  CHECK(Client(address).connected());
  loop.queueInLoop([&] { loop.quit(); });
  loop.loop();
  CHECK_FALSE(Client(address).connected());
}

// The loop comes to the task in its next run; it may be that there is none.
TEST_CASE("TcpServer: destroyed by another thread while its loop ends, it does not wait for ever") {
  EventLoop loop;
  auto server = std::make_unique<TcpServer>(&loop, InetAddress::loopback(0), "ending");
  server->start();
  const InetAddress address = server->listenAddress();
  std::promise<pid_t> tid;
  std::atomic<bool> inLastRound{false};
  std::thread other([&] {
    while (!inLastRound)
      std::this_thread::yield();
    tid.set_value(gettid());
    server.reset();
  });
  loop.queueInLoop([&] {
    loop.quit();
    loop.queueInLoop([&] {  // runs after the last wait, and what is posted meanwhile does not
      inLastRound = true;
      waitUntilAsleep(tid.get_future().get());
      // Not to synchronise: it is longer than the destructor waits at a time.
      std::this_thread::sleep_for(50ms);
    });
  });
  loop.loop();
  other.join();
  CHECK(Client(address).connected());
  loop.queueInLoop([&] { loop.quit(); });
  loop.loop();
  CHECK_FALSE(Client(address).connected());
}

// The destructor had given the server's inside away to the loop: the callbacks found nullptr.
TEST_CASE("TcpServer: while another thread destroys it, down callbacks may still ask it") {
  for (const int threads : {0, 2}) {
    std::atomic<int> downs{0};
    std::atomic<bool> answered{false};
    ServerThread f(
        [&](TcpServer& server) {
          server.setMessageCallback(echo);
          server.setConnectionCallback([&](const TcpConnectionPtr& connection) {
            if (connection->connected()) return;
            CHECK(server.connectionCount() <= 3);
            CHECK(server.listenAddress().port() != 0);
            CHECK(server.name() == "test");
            server.stopAccepting();
            server.stop(1s, [&](TcpServer::StopResult) { answered = true; });
            ++downs;
          });
        },
        threads);
    const auto clients = connectClients(f.address(), 3);
    f.ownership().reset();
    CHECK(downs == 3);
    f.inLoop([] {});
    CHECK_FALSE(answered);
  }
}

// bad_alloc in the destructor ended the process.
TEST_CASE("TcpServer: another thread that destroys it waits for the memory that this takes") {
  for (int granted = 0; granted < 2; ++granted) {
    ServerThread f([](TcpServer&) {});
    {
      const NoMemory atFirst(granted, 3);
      f.ownership().reset();
    }
    CHECK_FALSE(Client(f.address()).connected());
  }
}

TEST_CASE("TcpServer: a newcomer that is made, but finds no memory for its place, is closed") {
  checkUnluckyNewcomer(1);
}

TEST_CASE("TcpServer: destroyed by the callback that prepares its threads, it does not start") {
  EventLoop loop;
  auto server = std::make_unique<TcpServer>(&loop, InetAddress::loopback(0), "brief");
  const InetAddress address = server->listenAddress();
  server->setThreadInitCallback([&](EventLoop*) { server.reset(); });
  server->start();
  CHECK(server == nullptr);
  CHECK_FALSE(Client(address).connected());
}

TEST_CASE("TcpServer: destroyed before its loop comes to its stop, it answers nobody") {
  EventLoop loop;
  auto server = std::make_unique<TcpServer>(&loop, InetAddress::loopback(0), "brief");
  server->start();
  const auto witness = std::make_shared<int>(0);
  bool answered = false;
  server->stopAccepting();
  server->stop(1s, [&answered, witness](TcpServer::StopResult) { answered = true; });
  server.reset();
  loop.queueInLoop([&] { loop.quit(); });
  loop.loop();
  CHECK_FALSE(answered);
  CHECK(witness.use_count() == 1);
}

// What is left of the server lives as long as its start() is under way.
TEST_CASE("TcpServer: a stop that comes when it is destroyed drops its callback, uncalled") {
  EventLoop loop;
  auto server = std::make_unique<TcpServer>(&loop, InetAddress::loopback(0), "brief");
  const auto witness = std::make_shared<int>(0);
  bool answered = false;
  bool ran = false;
  server->setThreadInitCallback([&](EventLoop*) {
    server->stop(1s, [&answered, witness](TcpServer::StopResult) { answered = true; });
    server.reset();
    loop.queueInLoop([&] { loop.quit(); });
    loop.loop();
    CHECK(witness.use_count() == 1);
    ran = true;
  });
  server->start();
  CHECK(ran);
  CHECK_FALSE(answered);
}

TEST_CASE("TcpServer: destroyed by another thread when its loop is gone") {
  auto loop = std::make_unique<EventLoop>();
  auto server = std::make_unique<TcpServer>(loop.get(), InetAddress::loopback(0), "orphan");
  server->start();
  const InetAddress address = server->listenAddress();
  loop.reset();
  std::thread other([&] { server.reset(); });
  other.join();
  CHECK_FALSE(Client(address).connected());
}

TEST_CASE("TcpServer: out of descriptors it neither spins nor dies, and serves again") {
  const auto child = runInChild([] {
    ServerThread server([](TcpServer& s) { s.setMessageCallback(echo); });
    rlimit few{64, 64};
    setrlimit(RLIMIT_NOFILE, &few);
    // Our own clients need descriptors as well: each takes two, and then there are none.
    std::vector<std::unique_ptr<Client>> clients;
    for (int i = 0; i < 120; ++i)
      clients.push_back(std::make_unique<Client>(server.address()));
    std::uint64_t before = 0;
    std::uint64_t after = 0;
    server.inLoop([&] { before = server.loop()->iteration(); });
    for (int i = 0; i < 50; ++i)
      server.inLoop([] {});
    server.inLoop([&] { after = server.loop()->iteration(); });
    if (after - before > 500) _exit(2);
    clients.clear();
    for (int i = 0; i < 20; ++i) {
      Client client(server.address());
      client.send("x");
      if (client.receive(1) != "x") continue;  // one that was turned away a moment too late
      _exit(7);
    }
  });
  CHECK_MESSAGE(child.exitedWith(7), child.status << " " << child.output);
}

TEST_CASE("TcpServer: thousands of resets leave nothing behind") {
  ServerThread server([](TcpServer& s) { s.setMessageCallback(echo); }, 1);
  const std::size_t descriptors = descriptorCount();
  for (int i = 0; i < 2000; ++i) {
    Client client(server.address());
    if (i % 2 == 0) client.send("never answered");
    client.reset();
  }
  // Those before it may still wait to be accepted. Where a process may have few descriptors, it may
  // be one of those that are turned away meanwhile.
  CHECK(eventually([&] {
    Client last(server.address());
    last.send("x");
    return last.receive(1) == "x";
  }));
  CHECK(eventually([&] { return server.server().connectionCount() == 0; }));
  CHECK(eventually([&] { return descriptorCount() == descriptors; }));
}

TEST_CASE("TcpServer: many short-lived servers, with clients in every state") {
  const std::size_t descriptors = descriptorCount();
  for (int i = 0; i < 100; ++i) {
    ServerThread server([](TcpServer& s) { s.setMessageCallback(echo); }, i % 3);
    Client idle(server.address());
    Client sending(server.address());
    sending.send("x");
    Client closed(server.address());
    closed.close();
    Client reset(server.address());
    reset.reset();
  }
  CHECK(descriptorCount() == descriptors);
}

}  // namespace
