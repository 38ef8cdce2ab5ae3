// An Acceptor on a socket that listens already: what it takes, what it refuses, and what becomes of
// the other process that has the socket.

#include <doctest/doctest.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include "rung/net/TcpServer.h"

#include "tests/support/AcceptorFixture.h"
#include "tests/support/ChildProcess.h"
#include "tests/support/Client.h"
#include "tests/support/Ipv6.h"
#include "tests/support/Sockets.h"
#include "tests/support/TempDirectory.h"
#include "tests/support/Thrown.h"

using namespace std::chrono_literals;
using rung::Acceptor;
using rung::Endpoint;
using rung::EventLoop;
using rung::InetAddress;
using rung::Socket;
using rung::UniqueFd;
using rung::UnixAddress;
using rung::testing::AcceptorFixture;
using rung::testing::Client;
using rung::testing::exhaustDescriptors;
using rung::testing::mentions;
using rung::testing::runInChild;
using rung::testing::SocketPair;
using rung::testing::TempDirectory;
using rung::testing::thrown;

namespace {

/// As another program makes one: it blocks, and children inherit it.
UniqueFd listening(const InetAddress& address = InetAddress::loopback(0)) {
  UniqueFd fd = rung::checkedFd(socket(address.family(), SOCK_STREAM, 0), "socket");
  REQUIRE(bind(fd.get(), address.data(), address.length()) == 0);
  REQUIRE(listen(fd.get(), 64) == 0);
  return fd;
}

/// Whether this descriptor is refused, with such an exception that has its number in the text.
template <class Exception>
bool refused(UniqueFd fd) {
  EventLoop loop;
  const std::string number = " " + std::to_string(fd.get());
  return mentions(thrown<Exception>([&] { const Acceptor acceptor(&loop, std::move(fd)); }),
                  {number});
}

TEST_CASE("Acceptor: serves a socket that listens already, non-blocking and close-on-exec") {
  for (const sa_family_t family : rung::testing::ipFamilies()) {
    UniqueFd fd = listening(InetAddress::loopback(0, family));
    const InetAddress address = Socket(UniqueFd(dup(fd.get()))).localAddress();
    const Client early(address);  // waits until somebody accepts
    AcceptorFixture f(std::move(fd));
    CHECK((fcntl(f.acceptor.fd(), F_GETFL) & O_NONBLOCK) != 0);
    CHECK((fcntl(f.acceptor.fd(), F_GETFD) & FD_CLOEXEC) != 0);
    CHECK(f.acceptor.localAddress() == address);
    CHECK(f.acceptor.addressText() == address.toIpPort());
    f.acceptor.listen();
    tcp_info info{};
    socklen_t length = sizeof info;
    getsockopt(f.acceptor.fd(), IPPROTO_TCP, TCP_INFO, &info, &length);
    CHECK(info.tcpi_sacked == 64);  // of a listening socket, its backlog: left as it was
    const Client late(address);
    f.runUntilAccepted(2);
    CHECK(f.peers[0].family() == family);
  }
}

TEST_CASE("Acceptor: serves a Unix socket that listens already, and leaves its file") {
  const TempDirectory directory;
  const UnixAddress address(directory / "s");
  {
    UniqueFd fd = rung::checkedFd(socket(AF_UNIX, SOCK_STREAM, 0), "socket");
    REQUIRE(bind(fd.get(), address.data(), address.length()) == 0);
    REQUIRE(listen(fd.get(), 64) == 0);
    AcceptorFixture f(std::move(fd));
    CHECK(f.acceptor.addressText() == address.toText());
    f.acceptor.listen();
    const Client client(address);
    f.runUntilAccepted(1);
  }
  CHECK(directory.files().size() == 1);  // it belongs to whoever made it
}

TEST_CASE("Acceptor: sets its options on a socket that it adopts") {
  int prepared = -1;
  AcceptorFixture f(listening(), {.receiveBufferBytes = 60'000,
                                  .prepareListening = [&](int fd) { prepared = fd; }});
  CHECK(prepared == f.acceptor.fd());
  int value = 0;
  socklen_t length = sizeof value;
  getsockopt(prepared, SOL_SOCKET, SO_RCVBUF, &value, &length);
  CHECK(value == 120'000);
}

TEST_CASE("Acceptor: a descriptor that does not listen is refused, with its number") {
  CHECK(refused<std::invalid_argument>(UniqueFd()));
  CHECK(refused<std::invalid_argument>(UniqueFd(-7)));
  UniqueFd idle(socket(AF_INET, SOCK_STREAM, 0));
  const int number = idle.get();
  CHECK(refused<std::invalid_argument>(std::move(idle)));
  CHECK(fcntl(number, F_GETFD) == -1);  // it is closed
  SocketPair pair;
  CHECK(refused<std::invalid_argument>(std::move(pair.ours)));
  CHECK(refused<std::invalid_argument>(UniqueFd(socket(AF_INET, SOCK_DGRAM, 0))));
  CHECK(refused<std::system_error>(UniqueFd(open("/dev/null", O_RDWR))));
  CHECK(refused<std::system_error>(UniqueFd(9999)));
}

TEST_CASE("Acceptor: a descriptor of another kind of address is refused, with its number") {
  UniqueFd other(socket(AF_VSOCK, SOCK_STREAM, 0));
  if (!other.valid()) {
    MESSAGE("skipped: this machine has no sockets for virtual machines");
    return;
  }
  CHECK(refused<std::invalid_argument>(std::move(other)));
}

TEST_CASE("Acceptor: without a loop it aborts, and names the descriptor") {
  const auto child = runInChild([] { const Acceptor acceptor(nullptr, UniqueFd(5)); });
  CHECK(child.aborted());
  CHECK(child.says("descriptor 5"));
}

TEST_CASE("TcpServer: of this stage without a loop aborts as well") {
  const auto child =
      runInChild([] { const rung::TcpServer server(nullptr, InetAddress(80), "s"); });
  CHECK(child.aborted());
}

TEST_CASE("Acceptor: out of descriptors on an adopted socket and a Unix socket it refuses, too") {
  const TempDirectory directory;
  const UnixAddress path(directory / "s");
  for (const bool adopts : {true, false}) {
    const auto child = runInChild([&] {
      const rlimit few{64, 64};
      setrlimit(RLIMIT_NOFILE, &few);
      AcceptorFixture f(adopts ? Endpoint(listening()) : Endpoint(path));
      f.acceptor.listen();
      std::vector<UniqueFd> taken = exhaustDescriptors(2);
      const auto connect = [&] {
        return adopts ? std::make_unique<Client>(f.acceptor.localAddress())
                      : std::make_unique<Client>(path);
      };
      const auto one = connect();
      const auto two = connect();
      const std::uint64_t before = f.loop.iteration();
      for (int i = 0; i < 100 && f.acceptor.refused() < 2; ++i)
        f.runFor(50ms);
      if (f.acceptor.refused() != 2 || f.loop.iteration() - before > 110) _exit(2);
      if (!one->receiveAll().empty() || !two->receiveAll().empty()) _exit(3);
      taken.clear();
      const auto late = connect();
      f.runUntilAccepted(1);
      _exit(7);
    });
    CHECK_MESSAGE(child.exitedWith(7), child.status << child.output);
  }
}

TEST_CASE("Acceptor: closing its copy leaves the socket to whoever else has it") {
  for (const bool drains : {false, true}) {
    UniqueFd other;
    AcceptorFixture f;
    f.acceptor.listen();
    other = f.acceptor.duplicateFd();
    CHECK((fcntl(other.get(), F_GETFD) & FD_CLOEXEC) != 0);
    const InetAddress address = f.acceptor.localAddress();
    const Client first(address);
    drains ? f.acceptor.stopAccepting() : f.acceptor.close();
    CHECK(f.sockets.size() == (drains ? 1 : 0));
    CHECK(f.acceptor.fd() == -1);
    CHECK_THROWS_AS((void)f.acceptor.duplicateFd(), std::system_error);
    const std::uint64_t before = f.loop.iteration();
    const Client second(address);
    f.runFor(20ms);
    CHECK(f.loop.iteration() - before == 1);  // the closed copy wakes nobody any more
    Acceptor heir(&f.loop, std::move(other));
    int left = drains ? 1 : 2;
    heir.setNewConnectionCallback([&](Socket, const InetAddress&) {
      if (--left == 0) f.loop.quit();
    });
    heir.listen();
    f.loop.loop();
  }
}

}  // namespace
