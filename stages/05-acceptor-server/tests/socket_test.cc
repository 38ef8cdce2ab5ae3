#include "rung/net/Socket.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <string>
#include <system_error>

#include "tests/support/ChildProcess.h"
#include "tests/support/Client.h"
#include "tests/support/Ipv6.h"
#include "tests/support/Thrown.h"

using rung::InetAddress;
using rung::Socket;
using rung::UniqueFd;
using rung::testing::Client;
using rung::testing::mentions;
using rung::testing::runInChild;
using rung::testing::thrown;

namespace {

int option(int fd, int level, int name) {
  int value = -1;
  socklen_t length = sizeof value;
  getsockopt(fd, level, name, &value, &length);
  return value;
}

Socket listener(const InetAddress& address) {
  Socket socket = Socket::create(address.family());
  socket.bind(address);
  socket.listen(16, address.toIpPort());
  return socket;
}

/// Waits until a connection can be accepted; connect() returns before the queue shows it on some
/// kernels.
Socket::Accepted acceptSoon(Socket& socket) {
  pollfd ready{socket.fd(), POLLIN, 0};
  poll(&ready, 1, 10'000);
  return socket.accept();
}

TEST_CASE("Socket: created non-blocking and close-on-exec, and closed at the end of its life") {
  int number = -1;
  {
    const Socket socket = Socket::create(AF_INET);
    number = socket.fd();
    CHECK((fcntl(number, F_GETFL) & O_NONBLOCK) != 0);
    CHECK((fcntl(number, F_GETFD) & FD_CLOEXEC) != 0);
  }
  CHECK(fcntl(number, F_GETFD) == -1);
}

TEST_CASE("Socket: accepts with the peer's address, non-blocking and close-on-exec") {
  for (const sa_family_t family : rung::testing::ipFamilies()) {
    CAPTURE(family);
    Socket server = listener(InetAddress::loopback(0, family));
    CHECK(server.accept().error == EAGAIN);  // nobody there yet
    const InetAddress address = server.localAddress();
    CHECK(address.port() != 0);
    Client client(address);
    REQUIRE(client.connected());
    const Socket::Accepted accepted = acceptSoon(server);
    REQUIRE(accepted.error == 0);
    CHECK((fcntl(accepted.socket.fd(), F_GETFL) & O_NONBLOCK) != 0);
    CHECK((fcntl(accepted.socket.fd(), F_GETFD) & FD_CLOEXEC) != 0);
    CHECK(accepted.peer == accepted.socket.peerAddress());
    CHECK(accepted.socket.localAddress() == address);
  }
}

TEST_CASE("Socket: a taken port is an error that names call and address") {
  const Socket first = listener(InetAddress::loopback(0));
  const InetAddress taken = first.localAddress();
  try {
    (void)listener(taken);
    FAIL("no exception");
  } catch (const std::system_error& e) {
    CHECK(e.code().value() == EADDRINUSE);
    CHECK(mentions(e.what(), {"bind", taken.toIpPort()}));
  }
}

// With SO_REUSEADDR two may bind to it, as long as nobody listens.
TEST_CASE("Socket: a port on which another listens is an error of listen that names the address") {
  const InetAddress any = InetAddress::loopback(0);
  Socket first = Socket::create(AF_INET);
  Socket second = Socket::create(AF_INET);
  REQUIRE(first.setReuseAddress(true));
  REQUIRE(second.setReuseAddress(true));
  first.bind(any);
  const InetAddress taken = first.localAddress();
  second.bind(taken);
  first.listen(16, taken.toIpPort());
  CHECK(mentions(thrown<std::system_error>([&] { second.listen(16, taken.toIpPort()); }),
                 {"listen", taken.toIpPort(), "in use"}));
}

TEST_CASE("Socket: an address that is not ours is an error that names it") {
  Socket socket = Socket::create(AF_INET);
  CHECK(mentions(thrown<std::system_error>([&] { socket.bind(InetAddress("192.0.2.1", 80)); }),
                 {"bind", "192.0.2.1:80"}));
}

TEST_CASE("Socket: options") {
  Socket socket = Socket::create(AF_INET);
  CHECK(socket.setTcpNoDelay(true));
  CHECK(option(socket.fd(), IPPROTO_TCP, TCP_NODELAY) != 0);
  CHECK(socket.setTcpNoDelay(false));
  CHECK(option(socket.fd(), IPPROTO_TCP, TCP_NODELAY) == 0);
  CHECK(socket.setReuseAddress(true));
  CHECK(option(socket.fd(), SOL_SOCKET, SO_REUSEADDR) != 0);
  CHECK(socket.setReusePort(true));
  CHECK(option(socket.fd(), SOL_SOCKET, SO_REUSEPORT) != 0);
  CHECK(socket.setKeepAlive(true));
  CHECK(option(socket.fd(), SOL_SOCKET, SO_KEEPALIVE) != 0);
  socket.close();
  CHECK_FALSE(socket.setKeepAlive(true));
}

TEST_CASE("Socket: shutdownWrite lets the peer read to the end, and reading goes on") {
  Socket server = listener(InetAddress::loopback(0));
  Client client(server.localAddress());
  Socket::Accepted accepted = acceptSoon(server);
  REQUIRE(accepted.error == 0);
  CHECK(send(accepted.socket.fd(), "bye", 3, 0) == 3);
  accepted.socket.shutdownWrite();
  CHECK(client.receiveAll() == "bye");
  CHECK(client.lastError() == 0);
  CHECK(client.send("thanks"));
  pollfd ready{accepted.socket.fd(), POLLIN, 0};
  poll(&ready, 1, 10'000);
  char text[16];
  CHECK(recv(accepted.socket.fd(), text, sizeof text, 0) == 6);
  client.close();
  accepted.socket.shutdownWrite();  // the peer has gone: no error, no line in the log
}

TEST_CASE("Socket: takeError tells of a reset once") {
  Socket server = listener(InetAddress::loopback(0));
  Client client(server.localAddress());
  Socket::Accepted accepted = acceptSoon(server);
  CHECK(accepted.socket.takeError() == 0);
  client.reset();
  pollfd ready{accepted.socket.fd(), POLLIN, 0};
  poll(&ready, 1, 10'000);
  CHECK(accepted.socket.takeError() == ECONNRESET);
  CHECK(accepted.socket.takeError() == 0);
}

TEST_CASE("Socket: a closed one answers without an exception") {
  Socket socket;
  CHECK_FALSE(socket.valid());
  CHECK(socket.localAddress() == InetAddress());
  CHECK(socket.takeError() == EBADF);
  CHECK(socket.accept().error == EBADF);
}

TEST_CASE("Socket: an error of shutdownWrite that is not the peer's is a line in the log") {
  const auto child = runInChild([] {
    Socket notOne(UniqueFd(open("/dev/null", O_RDWR | O_CLOEXEC)));
    notOne.shutdownWrite();
  });
  CHECK(child.exitedWith(0));
  CHECK(child.lines("ERROR") == 1);
}

}  // namespace
