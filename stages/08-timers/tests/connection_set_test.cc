// A ConnectionSet without a server: what none does with its sets, or does so that no test can see
// it.

#include <doctest/doctest.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <utility>

#include "rung/net/ConnectionSet.h"
#include "rung/net/EventLoop.h"
#include "rung/net/TcpConnection.h"

#include "tests/support/LoopRounds.h"
#include "tests/support/Sockets.h"

using namespace std::chrono_literals;
using rung::ConnectionProfile;
using rung::ConnectionSet;
using rung::EventLoop;
using rung::IdleTimeout;
using rung::InetAddress;
using rung::Socket;
using rung::TcpConnection;
using rung::testing::runRounds;
using rung::testing::SocketPair;

namespace {

/// A set on the loop of the test.
struct Fixture {
  explicit Fixture(IdleTimeout idle = {}) {
    ConnectionProfile profile;
    profile.loop = &loop;
    profile.mailbox = loop.mailbox();
    set = ConnectionSet::create(std::move(profile), counts, idle);
  }
  ~Fixture() { set->destroy(); }

  void add(SocketPair& pair) {
    ++counts->live;
    set->add(std::make_shared<TcpConnection>(set->profile(), ++lastId, Socket(std::move(pair.ours)),
                                             InetAddress()));
  }

  EventLoop loop;
  std::shared_ptr<ConnectionSet::Counts> counts = std::make_shared<ConnectionSet::Counts>();
  std::shared_ptr<ConnectionSet> set;
  std::uint64_t lastId = 0;
};

bool atEnd(const SocketPair& pair) {
  char byte;
  return read(pair.theirs.get(), &byte, 1) == 0;
}

// A server closes its listening socket, and then lets its sets drain.
TEST_CASE("ConnectionSet: who comes while it drains is asked, and waited for, as well") {
  Fixture f;
  SocketPair early;
  SocketPair late;
  f.add(early);
  int over = 0;
  f.set->drain(std::make_shared<ConnectionSet::Drain>([&] { ++over; }));
  CHECK(atEnd(early));
  f.add(late);
  CHECK(atEnd(late));
  early.theirs.reset();
  runRounds(f.loop, 2);
  CHECK(f.counts->live == 1);
  CHECK(over == 0);
  late.theirs.reset();
  runRounds(f.loop, 2);
  CHECK(f.counts->live == 0);
  CHECK(over == 1);
}

// A task of the server may hold it for longer.
TEST_CASE("ConnectionSet: counts ticks until it is destroyed, whoever still has it") {
  for (const bool destroyed : {false, true}) {
    CAPTURE(destroyed);
    Fixture f({.timeout = 1s, .tick = 1ms});
    if (destroyed) f.set->destroy();
    f.loop.runAfter(5ms, [&] { f.loop.quit(); });
    f.loop.loop();
    CHECK((f.set->profile()->ticks == 0) == destroyed);
  }
}

}  // namespace
