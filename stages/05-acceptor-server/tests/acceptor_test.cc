#include "rung/net/Acceptor.h"

#include <doctest/doctest.h>
#include <netinet/tcp.h>
#include <sys/resource.h>

#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "tests/support/AcceptorFixture.h"
#include "tests/support/ChildProcess.h"
#include "tests/support/Client.h"
#include "tests/support/Ipv6.h"
#include "tests/support/Thrown.h"

using namespace std::chrono_literals;
using rung::Acceptor;
using rung::InetAddress;
using rung::Socket;
using rung::UniqueFd;
using rung::testing::AcceptorFixture;
using rung::testing::Client;
using rung::testing::exhaustDescriptors;
using rung::testing::mentions;
using rung::testing::runInChild;

namespace {

TEST_CASE("Acceptor: passes on each connection with its peer's address, IPv4 and IPv6") {
  for (const sa_family_t family : rung::testing::ipFamilies()) {
    AcceptorFixture f(family);
    CHECK_FALSE(f.acceptor.listening());
    f.acceptor.listen();
    CHECK(f.acceptor.listening());
    std::vector<std::unique_ptr<Client>> clients;
    for (int i = 0; i < 10; ++i) {
      clients.push_back(std::make_unique<Client>(f.acceptor.localAddress()));
      CHECK(clients.back()->connected());
    }
    f.runUntilAccepted(10);
    for (std::size_t i = 0; i < 10; ++i) {
      CHECK(f.peers[i] == f.sockets[i].peerAddress());
      CHECK(f.peers[i].family() == family);
    }
  }
}

TEST_CASE("Acceptor: before listen nobody can connect") {
  AcceptorFixture f;
  Client client(f.acceptor.localAddress());
  CHECK_FALSE(client.connected());
}

TEST_CASE("Acceptor: without a callback connections are closed, not leaked") {
  AcceptorFixture f;
  f.acceptor.setNewConnectionCallback(nullptr);
  f.acceptor.listen();
  Client client(f.acceptor.localAddress());
  f.runFor(20ms);
  CHECK(client.receiveAll().empty());
  CHECK(client.lastError() == 0);
}

TEST_CASE("Acceptor: a taken port throws and names it") {
  AcceptorFixture f;
  f.acceptor.listen();
  const InetAddress taken = f.acceptor.localAddress();
  try {
    const Acceptor second(&f.loop, taken);
    FAIL("no exception");
  } catch (const std::system_error& e) {
    CHECK(e.code().value() == EADDRINUSE);
    CHECK(mentions(e.what(), {"bind", taken.toIpPort()}));
  }
}

TEST_CASE("Acceptor: with reusePort two of them share a port") {
  AcceptorFixture f(AF_INET, {.reusePort = true});
  Acceptor second(&f.loop, f.acceptor.localAddress(), {.reusePort = true});
  f.acceptor.listen();
  second.listen();
  CHECK(second.localAddress() == f.acceptor.localAddress());
}

TEST_CASE("Acceptor: accepted sockets inherit TCP_NODELAY from the listening one") {
  for (const bool wanted : {true, false}) {
    AcceptorFixture f(AF_INET, {.tcpNoDelay = wanted});
    f.acceptor.listen();
    Client client(f.acceptor.localAddress());
    f.runUntilAccepted(1);
    int value = -1;
    socklen_t length = sizeof value;
    getsockopt(f.sockets[0].fd(), IPPROTO_TCP, TCP_NODELAY, &value, &length);
    CHECK((value != 0) == wanted);
  }
}

TEST_CASE("Acceptor: connections that die in the queue do no harm") {
  AcceptorFixture f;
  f.acceptor.listen();
  for (int i = 0; i < 20; ++i) {
    Client dead(f.acceptor.localAddress());
    dead.send("never read");
    dead.reset();
  }
  Client alive(f.acceptor.localAddress());
  f.runFor(20ms);
  // Linux passes reset connections on as if they lived; reading tells. Others may drop them.
  REQUIRE_FALSE(f.peers.empty());
  CHECK(f.sockets.back().takeError() == 0);
  CHECK(f.peers.back() == f.sockets.back().peerAddress());
}

// A level-triggered listener that cannot accept is reported at every wait: seen without help, tens
// of thousands of rounds in a tenth of a second, each with a line in the log.
TEST_CASE(
    "Acceptor: out of descriptors it closes newcomers, neither spins nor floods, and recovers") {
  const auto child = runInChild([] {
    const rlimit few{64, 64};
    setrlimit(RLIMIT_NOFILE, &few);
    AcceptorFixture f;
    f.acceptor.listen();
    constexpr int kClients = 5;
    std::vector<UniqueFd> taken = exhaustDescriptors(kClients);
    std::vector<std::unique_ptr<Client>> clients;
    for (int i = 0; i < kClients; ++i) {
      clients.push_back(std::make_unique<Client>(f.acceptor.localAddress()));
    }
    const std::uint64_t before = f.loop.iteration();
    std::uint64_t periods = 0;
    do {             // once, unless the machine is very busy
      f.runFor(1s);  // longer than five pauses would take
    } while (++periods < 50 && f.acceptor.refused() < kClients);
    if (!f.sockets.empty()) _exit(2);
    if (f.acceptor.refused() != kClients) _exit(3);
    // One round for each newcomer and one for the end of each period: it neither spins, nor does it
    // have to pause, since the reserve is there again each time.
    if (f.loop.iteration() - before > kClients + periods) _exit(4);
    for (auto& client : clients) {
      if (!client->receiveAll().empty()) _exit(5);  // each of them was told
    }
    clients.clear();
    taken.clear();
    Client late(f.acceptor.localAddress());
    f.runUntilAccepted(1);
    _exit(f.sockets.size() == 1 ? 7 : 6);
  });
  CHECK_MESSAGE(child.exitedWith(7), child.status << " " << child.output);
  CHECK(child.lines("WARN") == 1);
}

// The number that the reserve frees may be taken by another thread before accept() gets it. The
// trick alone then spins.
TEST_CASE("Acceptor: when the reserve is lost as well it pauses, and recovers by itself") {
  const auto child = runInChild([] {
    const rlimit few{64, 64};
    setrlimit(RLIMIT_NOFILE, &few);
    AcceptorFixture f;
    f.acceptor.listen();
    std::vector<UniqueFd> taken = exhaustDescriptors(1);
    Client client(f.acceptor.localAddress());
    // Lower the limit below what is in use: from here on not even a freed number comes back.
    const rlimit fewer{0, 64};
    setrlimit(RLIMIT_NOFILE, &fewer);
    const std::uint64_t before = f.loop.iteration();
    f.runFor(250ms);  // two pauses long
    if (f.loop.iteration() - before > 50) _exit(4);
    setrlimit(RLIMIT_NOFILE, &few);
    taken.clear();
    f.runUntilAccepted(1);
    _exit(f.sockets.size() == 1 && f.acceptor.refused() == 0 ? 7 : 6);
  });
  CHECK_MESSAGE(child.exitedWith(7), child.status << " " << child.output);
}

TEST_CASE("Acceptor: closed, it frees the port at once, also from its own callback") {
  AcceptorFixture f;
  f.acceptor.setNewConnectionCallback([&](Socket, const InetAddress&) {
    f.acceptor.close();
    f.loop.quit();
  });
  f.acceptor.listen();
  Client first(f.acceptor.localAddress());
  f.loop.loop();
  CHECK_FALSE(f.acceptor.listening());
  CHECK_FALSE(Client(f.acceptor.localAddress()).connected());
  Acceptor successor(&f.loop, f.acceptor.localAddress());
  successor.listen();
  f.acceptor.close();  // twice does no harm
}

TEST_CASE("Acceptor: listening from another thread aborts") {
  const auto child = runInChild([] {
    AcceptorFixture f;
    std::thread([&f] { f.acceptor.listen(); }).join();
  });
  CHECK(child.aborted());
}

}  // namespace
