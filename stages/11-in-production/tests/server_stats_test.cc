// What a server counts: connections by their ends, refusals, bytes.

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "rung/net/TcpConnection.h"
#include "rung/net/TcpServer.h"

#include "tests/support/Allocations.h"
#include "tests/support/Client.h"
#include "tests/support/LogTrap.h"
#include "tests/support/Observed.h"
#include "tests/support/ServerThread.h"

using rung::CloseReason;
using rung::ServerStats;
using rung::TcpConnectionPtr;
using rung::TcpServer;
using rung::UniqueFd;
using rung::testing::Client;
using rung::testing::echo;
using rung::testing::eventually;
using rung::testing::LogTrap;
using rung::testing::NoMemory;
using rung::testing::Observed;
using rung::testing::pattern;
using rung::testing::ServerThread;

namespace {

/// The law of ServerStats.
bool addsUp(const ServerStats& stats) {
  const auto ended = std::accumulate(stats.ended.begin(), stats.ended.end(), std::uint64_t{0});
  return stats.accepted == stats.open + ended + stats.refusedOverLimit + stats.refusedNoMemory;
}

TEST_CASE("TcpServer stats: a server that has done nothing has zeros") {
  ServerThread server([](TcpServer&) {}, 2);
  const ServerStats stats = server.server().stats();
  CHECK(stats.accepted == 0);
  CHECK(stats.open == 0);
  CHECK(stats.refusedNoDescriptor == 0);
  CHECK(stats.bytesIn == 0);
  CHECK(stats.bytesOut == 0);
  CHECK(addsUp(stats));
}

TEST_CASE("TcpServer stats: connections by the reason of their end, on all loops") {
  ServerThread server(
      [](TcpServer& s) {
        s.setMessageCallback([](const TcpConnectionPtr& c, rung::Buffer& buffer, auto) {
          if (buffer.view() == "force") c->forceClose();
          if (buffer.view() == "local") c->shutdown();
          if (buffer.view() == "local") c->send("never sent");
          buffer.retrieveAll();
        });
      },
      3);
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 30; ++i)
    clients.push_back(std::make_unique<Client>(server.address()));
  CHECK(eventually([&] { return server.server().stats().open == 30; }));
  for (std::size_t i = 0; i < 10; ++i)
    clients[i]->close();
  for (std::size_t i = 10; i < 15; ++i)
    CHECK(clients[i]->send("force"));
  for (std::size_t i = 15; i < 22; ++i) {
    CHECK(clients[i]->send("local"));
    CHECK(clients[i]->receiveAll().empty());
    clients[i]->close();
  }
  for (std::size_t i = 22; i < 24; ++i)
    clients[i]->reset();
  CHECK(eventually([&] { return server.server().stats().open == 6; }));
  ServerStats stats = server.server().stats();
  CHECK(stats.accepted == 30);
  CHECK(stats.endedBy(CloseReason::peer) == 10);
  CHECK(stats.endedBy(CloseReason::forced) == 5);
  CHECK(stats.endedBy(CloseReason::local) == 7);
  CHECK(stats.endedBy(CloseReason::reset) == 2);
  CHECK(addsUp(stats));
  CHECK(stats.bytesIn == 12 * 5);
  CHECK(stats.bytesOut == 0);
}

TEST_CASE(
    "TcpServer stats: those that end with the server count as stopped, in its callbacks too") {
  std::atomic<std::uint64_t> accepted{0};
  ServerThread* fixture = nullptr;
  ServerThread server([&](TcpServer& s) {
    s.setConnectionCallback([&](const TcpConnectionPtr& c) {
      if (!c->connected()) accepted = fixture->server().stats().accepted;
    });
  });
  fixture = &server;
  Client one(server.address());
  Client other(server.address());
  CHECK(eventually([&] { return server.server().stats().open == 2; }));
  std::atomic<bool> answered{false};
  server.server().stop(std::chrono::seconds(0), [&](auto) { answered = true; });
  CHECK(eventually([&] { return answered.load(); }));
  const ServerStats stats = server.server().stats();
  CHECK(stats.endedBy(CloseReason::stopped) == 2);
  CHECK(stats.open == 0);
  CHECK(addsUp(stats));
  CHECK(accepted == 2);
}

TEST_CASE("TcpServer stats: bytes in and out, those of files and those that are thrown away too") {
  Observed f([](TcpServer& s) { s.setMessageCallback(echo); });
  const TcpConnectionPtr connection = f.connection();
  const std::string text = pattern(3 << 20);
  std::thread sender([&] { CHECK(f.client.send(text)); });
  CHECK(f.client.receive(text.size()) == text);
  sender.join();
  const auto stats = [&] { return f.server.server().stats(); };
  CHECK(stats().bytesIn == text.size());
  CHECK(stats().bytesOut == text.size());

  UniqueFd file(memfd_create("server_stats_test", MFD_CLOEXEC));
  REQUIRE(::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  CHECK(connection->sendFile(std::move(file)));
  CHECK(f.client.receive(text.size()) == text);
  CHECK(eventually([&] { return stats().bytesOut == 2 * text.size(); }));

  f.server.inLoop([&] { connection->close(std::chrono::hours(1)); });
  CHECK(f.client.send("not wanted"));
  CHECK(eventually([&] { return stats().bytesIn == text.size() + 10; }));
}

TEST_CASE("TcpServer stats: the sums of two loops, and what the server counts itself") {
  rung::ServerCounts counts;
  CHECK(counts.stats().refusedNoDescriptor == 0);  // nobody counts them
  const auto reset = static_cast<std::size_t>(CloseReason::reset);
  for (const unsigned number : {1u, 20u}) {
    const auto loop = std::make_shared<rung::ConnectionProfile>();
    loop->counters.bytesIn.add(number);
    loop->counters.bytesOut.add(2 * number);
    loop->counters.ended[reset].add(3 * number);
    counts.add(loop);
  }
  counts.accepted.add(7);
  counts.overLimit.add(8);
  counts.live = 9;
  counts.noMemory = 10;
  counts.neverArrived = 11;
  counts.noDescriptor = std::make_shared<std::atomic<std::size_t>>(12);
  const ServerStats stats = counts.stats();
  CHECK(stats.bytesIn == 21);
  CHECK(stats.bytesOut == 42);
  CHECK(stats.endedBy(CloseReason::reset) == 63);
  CHECK(stats.accepted == 7);
  CHECK(stats.refusedOverLimit == 8);
  CHECK(stats.open == 9);
  CHECK(stats.refusedNoMemory == 10);
  CHECK(stats.endedBy(CloseReason::loopGone) == 11);
  CHECK(stats.refusedNoDescriptor == 12);
}

TEST_CASE("TcpServer stats: without memory for a newcomer, it is refused and counted") {
  for (const int granted : {0, 1}) {  // for the connection, and for its place in the set
    CAPTURE(granted);
    const LogTrap log;
    ServerThread server([](TcpServer&) {});
    std::optional<NoMemory> none;
    server.inLoop([&] { none.emplace(granted, 1); });
    Client unlucky(server.address());
    CHECK(unlucky.receiveAll().empty());
    server.inLoop([&] { none.reset(); });
    Client next(server.address());
    CHECK(eventually([&] { return server.server().stats().open == 1; }));
    const ServerStats stats = server.server().stats();
    CHECK(stats.accepted == 2);
    CHECK(stats.refusedNoMemory + stats.endedBy(CloseReason::outOfMemory) == 1);
    CHECK(addsUp(stats));
  }
}

TEST_CASE("TcpServer stats: on any thread, while connections come and go") {
  ServerThread server([](TcpServer& s) { s.setMessageCallback(echo); }, 2);
  std::atomic<bool> over{false};
  std::thread reader([&] {
    ServerStats before;
    while (!over) {
      const ServerStats now = server.server().stats();
      if (now.accepted < before.accepted || now.bytesIn < before.bytesIn) {
        FAIL_CHECK("a count went down");
      }
      before = now;
    }
  });
  for (int i = 0; i < 200; ++i) {
    Client client(server.address());
    CHECK(client.send("hello"));
    CHECK(client.receive(5) == "hello");
  }
  CHECK(eventually([&] { return server.server().stats().open == 0; }));
  over = true;
  reader.join();
  const ServerStats stats = server.server().stats();
  CHECK(stats.accepted == 200);
  CHECK(stats.endedBy(CloseReason::peer) == 200);
  CHECK(stats.bytesIn == 1000);
  CHECK(stats.bytesOut == 1000);
  CHECK(addsUp(stats));
}

}  // namespace
