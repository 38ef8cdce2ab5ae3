// What connect(2) and those before it can say, each as a value that names the step, the address and
// the errno; and a connection to oneself.

#include <doctest/doctest.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "rung/net/Connector.h"
#include "rung/net/EventLoop.h"
#include "rung/net/Resolver.h"

#include "tests/support/ChildProcess.h"
#include "tests/support/Listener.h"
#include "tests/support/Process.h"
#include "tests/support/ServerThread.h"

using rung::ConnectFailure;
using rung::Connector;
using rung::ConnectStep;
using rung::EventLoop;
using rung::InetAddress;
using rung::Resolver;
using rung::Target;
using rung::testing::descriptorCount;
using rung::testing::eventually;
using rung::testing::freeAddress;
using rung::testing::Listener;
using rung::testing::nobody;
using rung::testing::runInChild;
using rung::testing::runToQuit;

namespace {

Connector::Result connectTo(const Target& target, Connector::Options options = {}) {
  EventLoop loop;
  Connector connector(&loop, std::move(options));
  Connector::Result result;
  connector.connect(target, [&](Connector::Result r) {
    result = std::move(r);
    loop.quit();
  });
  CHECK(runToQuit(loop));
  return result;
}

/// Of an attempt that must fail, and leave no descriptor. A thread of a resolver keeps the mailbox
/// of the loop, and so its eventfd, for a moment longer.
ConnectFailure failureOf(const Target& target, Connector::Options options = {}) {
  const auto before = descriptorCount();
  auto result = connectTo(target, std::move(options));
  CHECK(!result.socket.valid());
  CHECK(eventually([&] { return descriptorCount() <= before; }));
  return result.failure.value_or(ConnectFailure{});
}

std::error_code errnoOf(int error) {
  return {error, std::generic_category()};
}

/// Binds the sockets to this address, as a client does that must come from a certain port.
auto bindsTo(InetAddress address) {
  return [address](int fd) {
    const int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, address.data(), address.length()) != 0) {
      throw std::system_error(errno, std::generic_category(), "bind");
    }
  };
}

TEST_CASE("Connector errors: ECONNREFUSED") {
  const InetAddress address = nobody();
  const auto failure = failureOf(address);
  CHECK(failure.step == ConnectStep::connect);
  CHECK(failure.error == errnoOf(ECONNREFUSED));
  CHECK(failure.target == address.toIpPort());
  REQUIRE(failure.tried.size() == 1);
  CHECK(failure.tried[0].address == address.toIpPort());
  CHECK(failure.tried[0].step == ConnectStep::connect);
  CHECK(failure.tried[0].error == errnoOf(ECONNREFUSED));
  CHECK(failure.toText() == "connect to " + address.toIpPort() + ": Connection refused");
}

// muduo #158: an error that connect(2) gives at once had no retry and no callback.
TEST_CASE("Connector errors: ENETUNREACH, which connect gives at once") {
  const auto failure = failureOf(InetAddress("255.255.255.255", 80));
  CHECK(failure.step == ConnectStep::connect);
  CHECK(failure.error == errnoOf(ENETUNREACH));
  CHECK(failure.toText() == "connect to 255.255.255.255:80: Network is unreachable");
}

TEST_CASE("Connector errors: EADDRNOTAVAIL, for want of a port to come from") {
  Listener listener;
  InetAddress from = InetAddress::loopback(0);
  const auto first = connectTo(listener.address(), {.prepare = bindsTo(from)});
  REQUIRE(!first.failure);
  from = first.socket.localAddress();
  const auto failure = failureOf(listener.address(), {.prepare = bindsTo(from)});
  CHECK(failure.step == ConnectStep::connect);
  CHECK(failure.error == errnoOf(EADDRNOTAVAIL));
}

TEST_CASE("Connector errors: EMFILE: no descriptor left") {
  const auto result = runInChild([] {
    EventLoop loop;
    Connector connector(&loop);
    const int next = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(next);
    const rlimit none{static_cast<rlim_t>(next), static_cast<rlim_t>(next)};
    setrlimit(RLIMIT_NOFILE, &none);
    int status = 2;
    connector.connect(InetAddress("127.0.0.1", 1), [&](const Connector::Result& r) {
      if (r.failure && r.failure->step == ConnectStep::socket &&
          r.failure->error == errnoOf(EMFILE) &&
          r.failure->toText() == "connect to 127.0.0.1:1: socket: Too many open files") {
        status = 0;
      }
      loop.quit();
    });
    if (!runToQuit(loop)) status = 3;
    _exit(status);
  });
  CHECK(result.exitedWith(0));
}

TEST_CASE("Connector errors: EAFNOSUPPORT: a family that the machine lacks") {
  sockaddr_storage strange{};
  strange.ss_family = 255;  // more than any kernel has
  Listener listener;
  const std::vector<InetAddress> found{InetAddress(strange), listener.address()};
  const auto finds = [](std::vector<InetAddress> addresses) {
    return std::make_shared<Resolver>(
        Resolver::Options{.lookup = [addresses = std::move(addresses)](auto&, auto) {
          return Resolver::Answer{.addresses = addresses};
        }});
  };
  const auto failure = failureOf(Target("host", 80), {.resolver = finds({found[0]})});
  CHECK(failure.step == ConnectStep::socket);
  CHECK(failure.error == errnoOf(EAFNOSUPPORT));
  // Another family is not concerned.
  CHECK(!connectTo(Target("host", 80), {.resolver = finds(found)}).failure);
}

TEST_CASE("Connector errors: a host that is not known, with the text of getaddrinfo") {
  const auto failure = failureOf(Target("a..b", 80));
  CHECK(failure.step == ConnectStep::resolve);
  CHECK(failure.error.category() == rung::resolverCategory());
  CHECK(failure.tried.empty());
  CHECK(failure.toText() == "connect to a..b:80: lookup: Name or service not known");
}

TEST_CASE("Connector errors: several addresses: the error of the best one, and all in the text") {
  const InetAddress other = nobody();
  const auto resolver = std::make_shared<Resolver>(Resolver::Options{.lookup = [&](auto&, auto) {
    return Resolver::Answer{.addresses = {other, InetAddress("255.255.255.255", 80)}};
  }});
  const auto failure = failureOf(Target("host", 80), {.resolver = resolver});
  CHECK(failure.step == ConnectStep::connect);
  CHECK(failure.error == errnoOf(ECONNREFUSED));
  REQUIRE(failure.tried.size() == 2);
  CHECK(failure.tried[1].error == errnoOf(ENETUNREACH));
  CHECK(failure.toText() == "connect to host:80: " + other.toIpPort() +
                                ": Connection refused; 255.255.255.255:80: Network is unreachable");
}

TEST_CASE("Connector errors: what prepare refuses has failed at the socket") {
  const auto failure = failureOf(nobody(), {.prepare = bindsTo(InetAddress("192.0.2.1", 0))});
  CHECK(failure.step == ConnectStep::socket);
  CHECK(failure.error == errnoOf(EADDRNOTAVAIL));
}

TEST_CASE("ConnectStep: each has its name") {
  CHECK(rung::nameOf(ConnectStep::resolve) == "resolve");
  CHECK(rung::nameOf(ConnectStep::socket) == "socket");
  CHECK(rung::nameOf(ConnectStep::connect) == "connect");
  CHECK(rung::nameOf(ConnectStep::watch) == "watch");
  CHECK(rung::nameOf(ConnectStep::deadline) == "deadline");
  CHECK(rung::nameOf(ConnectStep::cancelled) == "cancelled");
}

// Who tries again and again to reach a port of this machine that is not served gets it one day as
// the port of its own end: the connection is made, to itself, and the server cannot bind any more.
TEST_CASE("Connector: a connection to itself is seen, closed, and tried again") {
  const InetAddress address = freeAddress();
  int sockets = 0;
  // Without SO_REUSEADDR, as a port that the kernel has chosen.
  const auto once = [&](int fd) {
    if (++sockets == 1) CHECK(bind(fd, address.data(), address.length()) == 0);
  };
  const auto failure = failureOf(address, {.prepare = once});
  CHECK(sockets == 2);
  CHECK(failure.error == errnoOf(ECONNREFUSED));
  CHECK(failure.tried.size() == 2);
  CHECK_NOTHROW(Listener(address, 1));  // no TIME_WAIT keeps the port from the server
}

TEST_CASE("Connector: one that is connected to itself each time gives up") {
  const InetAddress address = freeAddress();
  int sockets = 0;
  const auto always = [&](int fd) {
    ++sockets;
    bindsTo(address)(fd);
  };
  const auto failure = failureOf(address, {.prepare = always});
  CHECK(failure.step == ConnectStep::connect);
  CHECK(failure.error == errnoOf(ECONNREFUSED));
  CHECK(sockets > 2);
  CHECK(sockets < 20);
}

}  // namespace
