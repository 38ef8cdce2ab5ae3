// The options of a listening socket: what accepted sockets inherit, what is refused, and the hooks.

#include <doctest/doctest.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <chrono>
#include <initializer_list>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

#include "rung/net/ListenFds.h"
#include "rung/net/ListenOptions.h"

#include "tests/support/AcceptorFixture.h"
#include "tests/support/ChildProcess.h"
#include "tests/support/Client.h"
#include "tests/support/Ipv6.h"
#include "tests/support/QuietLog.h"
#include "tests/support/TempDirectory.h"
#include "tests/support/Thrown.h"

using namespace std::chrono_literals;
using rung::Acceptor;
using rung::Endpoint;
using rung::EventLoop;
using rung::InetAddress;
using rung::KeepAlive;
using rung::Socket;
using rung::UnixAddress;
using rung::testing::AcceptorFixture;
using rung::testing::Client;
using rung::testing::mentions;
using rung::testing::QuietLog;
using rung::testing::runInChild;
using rung::testing::TempDirectory;
using rung::testing::thrown;

namespace {

int valueOf(int fd, int level, int name) {
  int value = -1;
  socklen_t length = sizeof value;
  getsockopt(fd, level, name, &value, &length);
  return value;
}

TEST_CASE("ListenOptions: accepted sockets inherit keep-alive, user timeout and buffer sizes") {
  for (const sa_family_t family : rung::testing::ipFamilies()) {
    AcceptorFixture f(family, {.keepAlive = KeepAlive{.idle = 2min, .interval = 11s, .count = 4},
                               .userTimeout = 12345ms,
                               .sendBufferBytes = 50'000,
                               .receiveBufferBytes = 60'000});
    f.acceptor.listen();
    const Client client(f.acceptor.localAddress());
    f.runUntilAccepted(1);
    const int fd = f.sockets[0].fd();
    CHECK(valueOf(fd, SOL_SOCKET, SO_KEEPALIVE) == 1);
    CHECK(valueOf(fd, IPPROTO_TCP, TCP_KEEPIDLE) == 120);
    CHECK(valueOf(fd, IPPROTO_TCP, TCP_KEEPINTVL) == 11);
    CHECK(valueOf(fd, IPPROTO_TCP, TCP_KEEPCNT) == 4);
    CHECK(valueOf(fd, IPPROTO_TCP, TCP_USER_TIMEOUT) == 12345);
    CHECK(valueOf(fd, SOL_SOCKET, SO_SNDBUF) == 100'000);  // the kernel doubles it
    CHECK(valueOf(fd, SOL_SOCKET, SO_RCVBUF) == 120'000);
  }
}

TEST_CASE("ListenOptions: by default keep-alive is off, and the system's defaults stay") {
  AcceptorFixture f;
  f.acceptor.listen();
  const Client client(f.acceptor.localAddress());
  f.runUntilAccepted(1);
  const Socket plain = Socket::create(AF_INET);
  const int fd = f.sockets[0].fd();
  CHECK(valueOf(fd, SOL_SOCKET, SO_KEEPALIVE) == 0);
  CHECK(valueOf(fd, IPPROTO_TCP, TCP_USER_TIMEOUT) == 0);
  CHECK(valueOf(fd, IPPROTO_TCP, TCP_KEEPIDLE) == valueOf(plain.fd(), IPPROTO_TCP, TCP_KEEPIDLE));
}

TEST_CASE("ListenOptions: a Unix-domain socket gets the buffer size, and no option of TCP") {
  const TempDirectory directory;
  int prepared = -1;
  const UnixAddress address(directory / "s");
  AcceptorFixture f(address, {.tcpNoDelay = true,
                              .keepAlive = KeepAlive{},
                              .userTimeout = 1s,
                              .sendBufferBytes = 50'000,
                              .prepareListening = [&](int fd) { prepared = fd; }});
  f.acceptor.listen();
  CHECK(prepared == f.acceptor.fd());
  const Client client(address);
  f.runUntilAccepted(1);
  CHECK(valueOf(f.sockets[0].fd(), SOL_SOCKET, SO_SNDBUF) == 100'000);
  CHECK(valueOf(f.sockets[0].fd(), SOL_SOCKET, SO_KEEPALIVE) == 0);
}

TEST_CASE("ListenOptions: values that make no sense are refused by name") {
  EventLoop loop;
  // Option, value and bounds.
  const auto refused = [&](const Acceptor::Options& options,
                           std::initializer_list<std::string_view> why) {
    const std::string text = thrown<std::invalid_argument>(
        [&] { const Acceptor acceptor(&loop, InetAddress("127.0.0.1", 0), options); });
    CAPTURE(text);
    CHECK(mentions(text, {"127.0.0.1:0"}));
    CHECK(mentions(text, why));
  };
  refused({.acceptsPerEvent = 0}, {"acceptsPerEvent", " 0", " 1", "2147483647"});
  refused({.backlog = -1}, {"backlog", "-1", " 0", "2147483647"});
  refused({.keepAlive = KeepAlive{.idle = 0s}}, {"keepAlive.idle", " 0", " 1", "32767"});
  refused({.keepAlive = KeepAlive{.idle = 32768s}}, {"keepAlive.idle", "32768", " 1", "32767"});
  refused({.keepAlive = KeepAlive{.interval = 0s}}, {"keepAlive.interval", " 0", " 1", "32767"});
  refused({.keepAlive = KeepAlive{.interval = 24h}},
          {"keepAlive.interval", "86400", " 1", "32767"});
  refused({.keepAlive = KeepAlive{.count = 0}}, {"keepAlive.count", " 0", " 1", " 127"});
  refused({.keepAlive = KeepAlive{.count = 128}}, {"keepAlive.count", "128", " 1", " 127"});
  refused({.userTimeout = -1ms}, {"userTimeout", "-1", " 0", "2147483647"});
  refused({.userTimeout = 720h}, {"userTimeout", "2592000000", " 0", "2147483647"});
  refused({.sendBufferBytes = -1}, {"sendBufferBytes", "-1", " 0", "2147483647"});
  refused({.receiveBufferBytes = -5}, {"receiveBufferBytes", "-5", " 0", "2147483647"});
  refused({.socketMode = 01777}, {"socketMode", "1023", " 0", "511"});
}

TEST_CASE("ListenOptions: the largest values are taken by the kernel, too") {
  EventLoop loop;
  const Acceptor acceptor(&loop, InetAddress::loopback(0),
                          {.backlog = 1 << 30,
                           .keepAlive = KeepAlive{.idle = 32767s, .interval = 32767s, .count = 127},
                           .userTimeout = std::chrono::milliseconds(INT32_MAX),
                           .sendBufferBytes = INT32_MAX,
                           .receiveBufferBytes = INT32_MAX});
  CHECK(valueOf(acceptor.fd(), IPPROTO_TCP, TCP_KEEPCNT) == 127);
}

TEST_CASE("ListenOptions: prepareListening sees the socket before it is bound") {
  EventLoop loop;
  std::string boundTo;
  const auto note = [&](int fd) {
    boundTo = rung::Socket(rung::UniqueFd(dup(fd))).localAddress().toIpPort();
  };
  const Acceptor acceptor(&loop, InetAddress::loopback(0), {.prepareListening = note});
  CHECK(boundTo == "0.0.0.0:0");
  CHECK_THROWS_WITH_AS(
      Acceptor(&loop, InetAddress::loopback(0),
               {.prepareListening = [](int) { throw std::runtime_error("no such device"); }}),
      "no such device", std::runtime_error);
}

TEST_CASE("ListenOptions: prepareAccepted runs for each accepted socket, before the callback") {
  int prepared = 0;
  AcceptorFixture f(AF_INET, {.prepareAccepted = [&](int fd) {
                      ++prepared;
                      const int on = 1;
                      setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
                    }});
  f.acceptor.listen();
  const Client one(f.acceptor.localAddress());
  const Client two(f.acceptor.localAddress());
  f.runUntilAccepted(2);
  CHECK(prepared == 2);
  for (const Socket& socket : f.sockets)
    CHECK(valueOf(socket.fd(), SOL_SOCKET, SO_KEEPALIVE) == 1);
}

TEST_CASE("ListenOptions: prepareAccepted without memory costs one connection, else it ends all") {
  {
    const QuietLog quiet;
    bool fails = true;
    AcceptorFixture f(AF_INET, {.prepareAccepted = [&](int) {
                        if (std::exchange(fails, false)) throw std::bad_alloc();
                      }});
    f.acceptor.listen();
    Client unlucky(f.acceptor.localAddress());
    const Client second(f.acceptor.localAddress());
    f.runUntilAccepted(1);
    CHECK(unlucky.receiveAll().empty());
    CHECK(f.peers.size() == 1);
    CHECK(f.acceptor.refused() == 1);
  }
  const auto child = runInChild([] {
    AcceptorFixture g(AF_INET,
                      {.prepareAccepted = [](int) { throw std::runtime_error("not so"); }});
    g.acceptor.listen();
    const Client client(g.acceptor.localAddress());
    g.loop.loop();
  });
  CHECK(child.aborted());
  CHECK(child.says("127.0.0.1:"));
}

}  // namespace
