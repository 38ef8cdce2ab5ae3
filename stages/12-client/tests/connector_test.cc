// One connection out of several addresses, within one deadline. What a host that does not answer
// would do, a listening socket does whose queue is full.

#include "rung/net/Connector.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "rung/net/EventLoop.h"
#include "rung/net/EventLoopThread.h"
#include "rung/net/Resolver.h"

#include "tests/support/Allocations.h"
#include "tests/support/ChildProcess.h"
#include "tests/support/FakeLookup.h"
#include "tests/support/Listener.h"
#include "tests/support/LoopRounds.h"
#include "tests/support/Process.h"
#include "tests/support/QuietLog.h"
#include "tests/support/ServerThread.h"
#include "tests/support/TempDirectory.h"

using rung::Connector;
using rung::ConnectStep;
using rung::EventLoop;
using rung::InetAddress;
using rung::Resolver;
using rung::Target;
using rung::UnixAddress;
using rung::testing::DeafListener;
using rung::testing::descriptorCount;
using rung::testing::FakeLookup;
using rung::testing::Listener;
using rung::testing::nobody;
using rung::testing::NoMemory;
using rung::testing::runInChild;
using rung::testing::runRounds;
using rung::testing::runToQuit;
using rung::testing::TempDirectory;

using namespace std::chrono_literals;

namespace {

const std::error_code kTimedOut(ETIMEDOUT, std::generic_category());
const std::error_code kUnderWay(EINPROGRESS, std::generic_category());
const std::error_code kNoMemory(ENOMEM, std::generic_category());
const std::error_code kRefused(ECONNREFUSED, std::generic_category());

/// A Connector on a loop of the test's own thread; its answer ends the loop.
struct OneConnect {
  explicit OneConnect(Connector::Options options = {}) : connector(&loop, std::move(options)) {}

  void begin(const Target& target) {
    connector.connect(target, [this](Connector::Result r) {
      ++answers;
      result = std::move(r);
      loop.quit();
    });
  }
  Connector::Result& connect(const Target& target) {
    begin(target);
    CHECK(connector.connecting());
    CHECK(runToQuit(loop));
    CHECK(!connector.connecting());
    return result;
  }

  EventLoop loop;
  int answers = 0;
  Connector::Result result;
  Connector connector;
};

/// A Resolver that finds these addresses at once.
std::shared_ptr<Resolver> finds(std::vector<InetAddress> addresses) {
  return std::make_shared<Resolver>(
      Resolver::Options{.lookup = [addresses = std::move(addresses)](auto&, auto) {
        return Resolver::Answer{.addresses = addresses};
      }});
}

// First the cases with a child process: later ones leave threads, and a child has none of them.

TEST_CASE("Connector: the wrong thread, no loop and no callback abort") {
  const auto connects = runInChild([] {
    OneConnect one;
    std::thread([&] { one.begin(nobody()); }).join();
  });
  CHECK(connects.aborted());
  CHECK(connects.says("was used from thread"));
  const auto cancels = runInChild([] {
    OneConnect one;
    one.begin(nobody());
    std::thread([&] { one.connector.cancel(); }).join();
  });
  CHECK(cancels.aborted());
  CHECK(cancels.says("was used from thread"));
  CHECK(runInChild([] { Connector connector(nullptr); }).says("Connector without an EventLoop"));
  CHECK(runInChild([] {
          EventLoop loop;
          Connector(&loop).connect(nobody(), {});
        }).says("Connector::connect() without a callback"));
  const auto throws = runInChild([] {
    EventLoop loop;
    Connector connector(&loop);
    connector.connect(nobody(), [](auto) { throw std::runtime_error("what"); });
    (void)runToQuit(loop);
  });
  CHECK(throws.aborted());
  CHECK(throws.says(": what"));
}

TEST_CASE("Connector: the socket is connected, non-blocking and close-on-exec") {
  Listener listener;
  OneConnect one;
  auto& result = one.connect(listener.address());
  CHECK(one.answers == 1);
  REQUIRE(!result.failure);
  CHECK(result.peer == listener.address());
  CHECK(result.socket.peerAddress() == listener.address());
  CHECK((fcntl(result.socket.fd(), F_GETFL) & O_NONBLOCK) != 0);
  CHECK((fcntl(result.socket.fd(), F_GETFD) & FD_CLOEXEC) != 0);
  CHECK(listener.accept().valid());
}

TEST_CASE("Connector: a host by name is looked up") {
  Listener listener;
  {
    OneConnect one({.resolver = finds({listener.address()})});
    CHECK(!one.connect(Target("host", 80)).failure);
    CHECK(one.result.peer == listener.address());
  }
  OneConnect one;
  CHECK(!one.connect(Target("localhost", listener.address().port())).failure);
}

TEST_CASE("Connector: never calls back from within connect(), whatever fails at once") {
  OneConnect one;
  for (const char* target : {"255.255.255.255:1", "unix:/nowhere/at/all", "127.0.0.1:1"}) {
    one.begin(Target::parse(target));
    CHECK(one.answers == 0);
    CHECK(runToQuit(one.loop));
    CHECK(std::exchange(one.answers, 0) == 1);
    CHECK(one.result.failure);
  }
}

TEST_CASE("Connector: an address that does not answer is tried beside the next one, which wins") {
  DeafListener deaf;
  Listener listener;
  OneConnect one({.stagger = 20ms, .resolver = finds({deaf.address(), listener.address()})});
  const auto begun = std::chrono::steady_clock::now();
  CHECK(!one.connect(Target("host", 80)).failure);
  CHECK(std::chrono::steady_clock::now() - begun >= 20ms);
  CHECK(one.result.peer == listener.address());
}

TEST_CASE("Connector: with a stagger of 0 none is waited for") {
  DeafListener deaf;
  Listener listener;
  OneConnect one(
      {.stagger = 0ms, .resolver = finds({deaf.address(), deaf.address(), listener.address()})});
  one.begin(Target("host", 80));
  CHECK(runToQuit(one.loop));
  CHECK(one.result.peer == listener.address());
}

TEST_CASE("Connector: the losers are closed when the first one wins") {
  DeafListener deaf;
  Listener listener;
  OneConnect one(
      {.stagger = 1ms, .resolver = finds({deaf.address(), deaf.address(), listener.address()})});
  const auto before = descriptorCount();
  CHECK(!one.connect(Target("host", 80)).failure);
  CHECK(descriptorCount() <= before + 1);
}

TEST_CASE("Connector: the first address wins if it answers in time, though it is slower") {
  DeafListener slow;
  DeafListener never;
  OneConnect one({.stagger = 1ms, .resolver = finds({slow.address(), never.address()})});
  one.begin(Target("host", 80));
  one.loop.runAfter(20ms, [&] { slow.hear(); });
  CHECK(runToQuit(one.loop));
  REQUIRE(!one.result.failure);
  CHECK(one.result.peer == slow.address());
}

TEST_CASE("Connector: after an address that fails, the next one is tried at once") {
  Listener listener;
  OneConnect one({.timeout = 1h,
                  .stagger = 1h,
                  .resolver = finds({nobody(), InetAddress("255.255.255.255", 1), nobody(),
                                     listener.address()})});
  CHECK(!one.connect(Target("host", 80)).failure);
  CHECK(one.result.peer == listener.address());
}

TEST_CASE("Connector: the families take turns, beginning with that of the first address") {
  const std::vector<InetAddress> found{InetAddress("::1", 1), InetAddress("::1", 2),
                                       InetAddress("::1", 3), InetAddress("127.0.0.1", 4),
                                       InetAddress("127.0.0.1", 5)};
  OneConnect one({.resolver = finds(found)});
  const auto& failure = one.connect(Target("host", 80)).failure;
  REQUIRE(failure);
  std::string order;
  for (const auto& tried : failure->tried)
    order += tried.address.back();
  CHECK(order == "14253");
}

TEST_CASE("Connector: one deadline over lookup and connect") {
  SUBCASE("the lookup hangs") {
    FakeLookup fake;
    OneConnect one({.timeout = 20ms, .resolver = fake.resolver()});
    const auto& failure = one.connect(Target("host", 80)).failure;
    REQUIRE(failure);
    CHECK(failure->step == ConnectStep::deadline);
    CHECK(failure->error == kTimedOut);
    CHECK(failure->tried.empty());
    CHECK(failure->toText() == "connect to host:80: Connection timed out");
  }
  SUBCASE("an address does not answer") {
    DeafListener deaf;
    OneConnect one({.timeout = 20ms});
    const auto before = descriptorCount();
    const auto& failure = one.connect(deaf.address()).failure;
    REQUIRE(failure);
    CHECK(failure->step == ConnectStep::deadline);
    CHECK(failure->error == kTimedOut);
    REQUIRE(failure->tried.size() == 1);
    CHECK(failure->tried[0].error == kUnderWay);
    CHECK(failure->toText() ==
          "connect to " + deaf.address().toIpPort() + ": Connection timed out");
    CHECK(descriptorCount() <= before);
  }
  SUBCASE("the lookup takes most of the time, and an address the rest") {
    DeafListener deaf;
    FakeLookup fake({nobody(), deaf.address()});
    // More than the time, if it began anew with the addresses.
    OneConnect one({.timeout = 200ms, .resolver = fake.resolver()});
    one.begin(Target("host", 80));
    const auto begun = std::chrono::steady_clock::now();
    std::chrono::steady_clock::time_point looked;
    one.loop.runAfter(100ms, [&] {
      looked = std::chrono::steady_clock::now();
      fake.release();
    });
    CHECK(runToQuit(one.loop));
    const auto ended = std::chrono::steady_clock::now();
    CHECK(ended - begun >= 200ms);
    if (looked - begun < 150ms) CHECK(ended - looked < 200ms);
    const auto& failure = one.result.failure;
    REQUIRE(failure);
    CHECK(failure->step == ConnectStep::deadline);
    REQUIRE(failure->tried.size() == 2);
    CHECK(failure->tried[0].error == kRefused);
    CHECK(failure->tried[1].error == kUnderWay);
    CHECK(failure->toText() == "connect to host:80: Connection timed out, after " +
                                   failure->tried[0].address + ": Connection refused; " +
                                   deaf.address().toIpPort() + ": Operation now in progress");
  }
}

TEST_CASE("Connector: cancelled at any step, it closes all and does not call back") {
  DeafListener deaf;
  FakeLookup fake;
  for (const Target& target : {Target("host", 80), Target(deaf.address())}) {
    for (const int rounds : {0, 1, 3}) {
      OneConnect one({.resolver = fake.resolver()});
      const auto before = descriptorCount();
      one.begin(target);
      if (rounds > 0) runRounds(one.loop, rounds);
      one.connector.cancel();
      CHECK(!one.connector.connecting());
      CHECK(descriptorCount() == before);
      runRounds(one.loop, 3);
      CHECK(one.answers == 0);
    }
  }
}

TEST_CASE("Connector: a second connect() cancels the first one") {
  DeafListener deaf;
  Listener listener;
  OneConnect one;
  one.begin(deaf.address());
  runRounds(one.loop, 2);
  CHECK(!one.connect(listener.address()).failure);
  CHECK(one.answers == 1);
}

TEST_CASE("Connector: may be used again, and destroyed, in its callback") {
  Listener listener;
  EventLoop loop;
  auto connector = std::make_unique<Connector>(&loop);
  int answers = 0;
  const std::vector<Target> targets{listener.address(), nobody(), listener.address()};
  std::function<void(Connector::Result)> next = [&](const Connector::Result& result) {
    CHECK(result.failure.has_value() == (answers == 1));
    if (++answers < 3) return connector->connect(targets[static_cast<std::size_t>(answers)], next);
    connector.reset();
    loop.quit();
  };
  connector->connect(targets[0], next);
  CHECK(runToQuit(loop));
  CHECK(answers == 3);
}

TEST_CASE("Connector: Unix-domain sockets, by path and by abstract name") {
  TempDirectory directory;
  for (const UnixAddress& address :
       {UnixAddress(directory / "s"), UnixAddress("@rung-connector-" + std::to_string(getpid()))}) {
    Listener listener(address, 128);
    OneConnect one;
    CHECK(!one.connect(address).failure);
    CHECK(one.result.peer.isUnix());
    CHECK(one.result.socket.peerCredentials()->pid == getpid());
    CHECK(listener.accept().valid());
  }
  OneConnect one;
  const auto& failure = one.connect(UnixAddress(directory / "gone")).failure;
  REQUIRE(failure);
  CHECK(failure->step == ConnectStep::connect);
  CHECK(failure->error == std::error_code(ENOENT, std::generic_category()));
  CHECK(failure->toText() ==
        "connect to unix:" + (directory / "gone") + ": No such file or directory");
}

// connect(2) of a Unix-domain socket does not wait in a non-blocking way: it says EAGAIN.
TEST_CASE("Connector: a Unix-domain server that is busy is asked again, until the deadline") {
  const UnixAddress address("@rung-busy-" + std::to_string(getpid()));
  Listener listener(address, 0);
  OneConnect one;
  CHECK(!one.connect(address).failure);  // fills the queue
  const rung::Socket first = std::move(one.result.socket);
  SUBCASE("it accepts in the end") {
    one.begin(address);
    one.loop.runAfter(25ms, [&] { (void)listener.accept(); });
    CHECK(runToQuit(one.loop));
    CHECK(!one.result.failure);
  }
  SUBCASE("it does not") {
    Connector impatient(&one.loop, {.timeout = 30ms});
    std::optional<rung::ConnectFailure> failure;
    impatient.connect(address, [&](Connector::Result result) {
      failure = std::move(result.failure);
      one.loop.quit();
    });
    CHECK(runToQuit(one.loop));
    REQUIRE(failure);
    CHECK(failure->step == ConnectStep::deadline);
  }
  SUBCASE("it goes") {
    one.begin(address);
    one.loop.runAfter(25ms, [&] { listener.close(); });
    CHECK(runToQuit(one.loop));
    REQUIRE(one.result.failure);
    CHECK(one.result.failure->error == kRefused);
  }
}

TEST_CASE("Connector: the loop may go first, at any step; nothing is left open") {
  DeafListener deaf;
  FakeLookup fake;
  const auto resolver = fake.resolver();
  for (const Target& target : {Target("host", 80), Target(deaf.address())}) {
    for (const int rounds : {0, 1, 3}) {
      const auto before = descriptorCount();
      auto loop = std::make_unique<EventLoop>();
      Connector connector(loop.get(), {.resolver = resolver});
      connector.connect(target, [](const Connector::Result&) { CHECK(false); });
      if (rounds > 0) runRounds(*loop, rounds);
      loop.reset();
      CHECK(descriptorCount() <= before + 1);  // the eventfd of the loop's mailbox
      if (rounds == 1) std::thread([&] { connector.cancel(); }).join();
    }
  }
}

TEST_CASE("Connector: without memory it fails with ENOMEM, wherever that is") {
  Listener listener;
  const rung::testing::QuietLog quiet;
  const auto resolver = finds({nobody(), listener.address()});
  int failed = 0;
  for (int granted = 0; granted < 60; ++granted) {
    OneConnect one({.resolver = resolver});
    const auto before = descriptorCount();
    one.begin(Target("host", 80));
    one.loop.runAfter(20s, [&] { one.loop.quit(); });
    {
      const NoMemory none(granted, 1);
      one.loop.loop();
    }
    CHECK(one.answers == 1);
    if (const auto& failure = one.result.failure) {
      ++failed;
      const bool second = failure->tried.size() == 2 && failure->tried[1].error == kNoMemory;
      CHECK((second || failure->error == kNoMemory));
    }
    one.result = {};
    CHECK(descriptorCount() <= before);
  }
  CHECK(failed > 0);
  CHECK(failed < 60);

  OneConnect one;
  {
    const NoMemory none;
    CHECK_THROWS_AS(one.begin(nobody()), std::bad_alloc);
  }
  CHECK(!one.connector.connecting());
  CHECK(!one.connect(listener.address()).failure);
}

}  // namespace
