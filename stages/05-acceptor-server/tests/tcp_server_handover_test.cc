// What this stage's TcpServer does with a socket: it hands it to a loop. From the next stage on it
// makes connections of them.

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <latch>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include "rung/base/CurrentThread.h"
#include "rung/base/Mutex.h"
#include "rung/net/EventLoop.h"
#include "rung/net/TcpServer.h"

#include "tests/support/Client.h"

using rung::EventLoop;
using rung::InetAddress;
using rung::Mutex;
using rung::MutexLock;
using rung::Socket;
using rung::TcpServer;
using rung::testing::Client;

namespace {

struct Handed {
  EventLoop* loop;
  pid_t thread;
  InetAddress peer;
};

/// Runs a server with `threads` loops until `clients` sockets have been handed over.
std::vector<Handed> serve(int threads, int clients) {
  EventLoop base;
  TcpServer server(&base, InetAddress::loopback(0), "handover");
  server.setThreadNum(threads);
  Mutex mutex;
  std::vector<Handed> handed;
  server.setNewSocketCallback([&](EventLoop* loop, Socket, const InetAddress& peer) {
    CHECK(loop->isInLoopThread());
    const MutexLock lock(mutex);
    handed.push_back({loop, rung::CurrentThread::tid(), peer});
    if (handed.size() == static_cast<std::size_t>(clients)) base.quit();
  });
  server.start();
  std::vector<std::unique_ptr<Client>> all;
  for (int i = 0; i < clients; ++i)
    all.push_back(std::make_unique<Client>(server.listenAddress()));
  base.loop();
  return handed;
}

TEST_CASE("TcpServer: without threads the base loop serves every connection") {
  const std::vector<Handed> handed = serve(0, 6);
  REQUIRE(handed.size() == 6);
  for (const Handed& h : handed)
    CHECK(h.thread == rung::CurrentThread::tid());
}

TEST_CASE("TcpServer: connections go round-robin to the loops, each loop's in order of arrival") {
  const std::vector<Handed> handed = serve(3, 12);
  REQUIRE(handed.size() == 12);
  std::vector<EventLoop*> loops;
  for (const Handed& h : handed) {
    CHECK(h.thread != rung::CurrentThread::tid());
    if (std::find(loops.begin(), loops.end(), h.loop) == loops.end()) loops.push_back(h.loop);
  }
  CHECK(loops.size() == 3);
  for (EventLoop* loop : loops) {
    int count = 0;
    for (const Handed& h : handed)
      count += h.loop == loop ? 1 : 0;
    CHECK(count == 4);
  }
}

TEST_CASE("TcpServer: start twice does no harm, and the port is known before") {
  EventLoop base;
  TcpServer server(&base, InetAddress::loopback(0), "twice");
  CHECK(server.listenAddress().port() != 0);
  CHECK(server.name() == "twice");
  server.start();
  server.start();
}

// Two sockets may be bound to a port as long as neither listens. The threads were running when
// listen(2) refused, and the second start() ended the process, since they cannot be started twice.
TEST_CASE("TcpServer: can be started again after the port was taken at the last moment") {
  EventLoop base;
  auto first = std::make_unique<TcpServer>(&base, InetAddress::loopback(0), "first");
  TcpServer second(&base, first->listenAddress(), "second");
  second.setThreadNum(1);
  first->start();
  CHECK_THROWS_AS(second.start(), std::system_error);
  first.reset();
  second.start();
  CHECK(Client(second.listenAddress()).connected());
}

TEST_CASE("TcpServer: a taken port throws from the constructor and names it") {
  EventLoop base;
  TcpServer first(&base, InetAddress::loopback(0), "first");
  first.start();
  const std::string taken = first.listenAddress().toIpPort();
  try {
    const TcpServer second(&base, first.listenAddress(), "second");
    FAIL("no exception");
  } catch (const std::system_error& e) {
    CHECK(std::string(e.what()).find(taken) != std::string::npos);
  }
}

TEST_CASE("TcpServer: destroyed with handed sockets still queued, it closes them") {
  EventLoop base;
  std::latch plugged(1);
  std::latch unplug(1);
  std::atomic<int> served{0};
  auto server = std::make_unique<TcpServer>(&base, InetAddress::loopback(0), "gone");
  server->setThreadNum(1);
  server->setThreadInitCallback(
      [&](EventLoop* loop) { loop->queueInLoop([&] { plugged.count_down(), unplug.wait(); }); });
  server->setNewSocketCallback([&](EventLoop*, Socket, const InetAddress&) { ++served; });
  server->start();
  plugged.wait();
  Client client(server->listenAddress());
  base.queueInLoop([&] { base.queueInLoop([&] { base.quit(); }); });
  base.loop();
  unplug.count_down();
  server.reset();  // runs what is queued; the callback drops the socket, which closes it
  CHECK(client.receiveAll().empty());
  CHECK(served <= 1);
}

}  // namespace
