// Many newcomers at once: how many are accepted before the others get their turn, and what becomes
// of those that wait when accepting ends.

#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "rung/base/Logging.h"

#include "tests/support/AcceptorFixture.h"
#include "tests/support/ChildProcess.h"
#include "tests/support/Client.h"
#include "tests/support/LoopRounds.h"
#include "tests/support/QuietLog.h"

using namespace std::chrono_literals;
using rung::Acceptor;
using rung::EventLoop;
using rung::InetAddress;
using rung::Socket;
using rung::testing::AcceptorFixture;
using rung::testing::Client;
using rung::testing::QuietLog;
using rung::testing::runInChild;
using rung::testing::runRounds;

namespace {

using Clients = std::vector<std::unique_ptr<Client>>;

/// Clients that are connected, and wait to be accepted.
Clients crowd(const Acceptor& acceptor, int count) {
  Clients clients;
  for (int i = 0; i < count; ++i)
    clients.push_back(std::make_unique<Client>(acceptor.localAddress()));
  return clients;
}

// One a round made the rate at which a loop accepts depend on how much else it does: 300 newcomers
// beside 1,000 busy connections took 15.8 s.
TEST_CASE(
    "Acceptor: accepts up to acceptsPerEvent in one round, the others get theirs in between") {
  for (const int atATime : {1, 4}) {
    AcceptorFixture f(AF_INET, {.acceptsPerEvent = atATime});
    f.acceptor.listen();
    const Clients clients = crowd(f.acceptor, 10);
    for (const std::size_t rounds : {1U, 2U}) {
      runRounds(f.loop, 1);
      CHECK(f.sockets.size() == rounds * static_cast<std::size_t>(atATime));
    }
    runRounds(f.loop, 10);
    CHECK(f.sockets.size() == 10);
  }
}

TEST_CASE("Acceptor: a callback that closes it ends the batch; the rest is not accepted") {
  static std::string log;  // of an accept on a closed socket, for one
  rung::Logger::setOutput([](std::string_view line) { log += line; });
  AcceptorFixture f;
  int accepted = 0;
  f.acceptor.setNewConnectionCallback([&](Socket, const InetAddress&) {
    if (++accepted == 2) f.acceptor.close();
  });
  f.acceptor.listen();
  const Clients clients = crowd(f.acceptor, 5);
  runRounds(f.loop, 3);
  rung::Logger::setOutput(nullptr);
  CHECK(accepted == 2);
  CHECK(log.empty());
}

// close() resets who waits in the queue: connected, as far as they know. With reusePort, a rolling
// restart left 17 and 58 requests unanswered that the kernel had accepted.
TEST_CASE("Acceptor: stopAccepting passes on all that wait, and then frees the port") {
  AcceptorFixture f(AF_INET, {.acceptsPerEvent = 4});
  f.acceptor.listen();
  const Clients clients = crowd(f.acceptor, 40);
  f.acceptor.stopAccepting();
  REQUIRE(f.sockets.size() == 40);
  CHECK_FALSE(f.acceptor.listening());
  CHECK_FALSE(Client(f.acceptor.localAddress()).connected());
  f.sockets.clear();
  for (const auto& client : clients) {
    CHECK(client->receiveAll().empty());
    CHECK(client->lastError() == 0);  // closed by us, and not reset
  }
  f.acceptor.stopAccepting();  // twice does no harm
}

TEST_CASE(
    "Acceptor: in a rolling restart with reusePort, each client is accepted by one of the two") {
  AcceptorFixture before(AF_INET, {.reusePort = true});
  int afterwards = 0;
  Acceptor after(&before.loop, before.acceptor.localAddress(), {.reusePort = true});
  after.setNewConnectionCallback([&](Socket, const InetAddress&) { ++afterwards; });
  before.acceptor.listen();
  after.listen();
  const Clients clients = crowd(before.acceptor, 50);  // the kernel deals them out to both
  before.acceptor.stopAccepting();
  const Clients late = crowd(after, 10);
  after.stopAccepting();
  CHECK(before.sockets.size() > 0);
  CHECK(before.sockets.size() + static_cast<std::size_t>(afterwards) == 60);
}

TEST_CASE("Acceptor: stopAccepting ends, though newcomers come as fast as they are taken") {
  AcceptorFixture f(AF_INET, {.backlog = 4});
  Clients clients;
  int accepted = 0;
  f.acceptor.setNewConnectionCallback([&](Socket, const InetAddress&) {
    if (++accepted > 100) f.acceptor.close();
    clients.push_back(std::make_unique<Client>(f.acceptor.localAddress()));
  });
  f.acceptor.listen();
  clients = crowd(f.acceptor, 1);
  f.acceptor.stopAccepting();
  CHECK(accepted == 5);
}

TEST_CASE("Acceptor: stopAccepting from its own callback, where it may be closed as well") {
  for (const bool close : {false, true}) {
    AcceptorFixture f;
    int accepted = 0;
    int depth = 0;
    int deepest = 0;
    f.acceptor.setNewConnectionCallback([&](Socket, const InetAddress&) {
      ++accepted;
      deepest = std::max(deepest, ++depth);
      f.acceptor.stopAccepting();
      if (close) f.acceptor.close();
      --depth;
    });
    f.acceptor.listen();
    const Clients clients = crowd(f.acceptor, 5);
    runRounds(f.loop, 3);
    CHECK(accepted == (close ? 2 : 5));
    CHECK(deepest == 2);  // and not one for each that waits
    CHECK_FALSE(f.acceptor.listening());
  }
  AcceptorFixture never;
  never.acceptor.stopAccepting();  // without listen()
  CHECK_FALSE(Client(never.acceptor.localAddress()).connected());
}

TEST_CASE("Acceptor: a callback that runs out of memory loses its connection, and no other") {
  const QuietLog quiet;
  AcceptorFixture f;
  int calls = 0;
  std::uint64_t failed = 0;
  f.acceptor.setNewConnectionCallback([&](Socket, const InetAddress&) {
    if (++calls == 2) {
      failed = f.loop.iteration();
      throw std::bad_alloc();
    }
    if (calls == 3) f.loop.quit();
  });
  f.acceptor.listen();
  const Clients clients = crowd(f.acceptor, 3);
  f.loop.loop();
  CHECK(calls == 3);
  CHECK(f.loop.iteration() > failed);  // the third was not accepted in the same round: a pause
  CHECK(clients[1]->receiveAll().empty());
  CHECK(clients[1]->lastError() == 0);
  f.acceptor.setNewConnectionCallback([&](Socket, const InetAddress&) {
    f.acceptor.close();
    throw std::bad_alloc();
  });
  const Clients last = crowd(f.acceptor, 1);
  const std::uint64_t before = f.loop.iteration();
  f.runFor(3 * Acceptor::kPause);
  CHECK_FALSE(f.acceptor.listening());
  CHECK(f.loop.iteration() - before == 2);  // the newcomer and the end: closed, it does not pause
}

TEST_CASE("Acceptor: any other exception from its callback ends the process, and names it") {
  const auto child = runInChild([] {
    AcceptorFixture f;
    f.acceptor.setNewConnectionCallback(
        [](Socket, const InetAddress&) { throw std::runtime_error("no room"); });
    f.acceptor.listen();
    const Client client(f.acceptor.localAddress());
    f.loop.loop();
  });
  CHECK(child.aborted());
  CHECK(child.says("127.0.0.1:"));
}

TEST_CASE("Acceptor: destroyed by its own callback it aborts by name, from stopAccepting too") {
  for (const bool stopping : {false, true}) {
    const auto child = runInChild([=] {
      EventLoop loop;
      auto acceptor = std::make_unique<Acceptor>(&loop, InetAddress::loopback(0));
      acceptor->setNewConnectionCallback([&](Socket, const InetAddress&) { acceptor.reset(); });
      acceptor->listen();
      const Client client(acceptor->localAddress());
      if (stopping) acceptor->stopAccepting();
      loop.loop();
    });
    CHECK(child.aborted());
    CHECK(child.says("127.0.0.1:"));
  }
}

}  // namespace
