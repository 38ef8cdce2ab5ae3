// How a TCP connection begins, and the socket options that interviews ask for.

#include <doctest/doctest.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "tests/facts/Kernel.h"

using namespace facts;

namespace {

/// Bytes that are queued in the kernel and have not been sent even once.
int notSentYet(int fd) {
  int bytes = -1;
  must(ioctl(fd, SIOCOUTQNSD, &bytes), "ioctl SIOCOUTQNSD");
  return bytes;
}

std::string readAll(int fd) {
  std::string all, piece(4096, '\0');
  for (ssize_t n; (n = read(fd, piece.data(), piece.size())) > 0;)
    all.append(piece, 0, static_cast<std::size_t>(n));
  return all;
}

}  // namespace

TEST_CASE("set-up: connect and send succeed before anybody accepts") {
  Fd listening = listener();
  Fd client = connected(portOf(listening));
  CHECK(put(client, "early"));
  must(shutdown(client, SHUT_WR), "shutdown");
  Fd server(must(accept4(listening, nullptr, nullptr, SOCK_CLOEXEC), "accept4"));
  CHECK(readAll(server) == "early");
}

TEST_CASE("set-up: a full accept queue makes connect wait and not fail") {
  Fd listening = listener(0, 0);  // a backlog of 0 holds one
  Fd first = connected(portOf(listening));
  Fd second = tcpSocket(SOCK_NONBLOCK);
  errno = 0;
  CHECK(connectTo(second, portOf(listening)) == -1);
  CHECK(errno == EINPROGRESS);
  Epoll epoll(second, EPOLLOUT);
  CHECK(epoll.wait(100ms) == 0);  // its SYN was dropped, and will be sent again
  Fd served(must(accept4(listening, nullptr, nullptr, SOCK_CLOEXEC), "accept4"));
  CHECK(epoll.wait(10s) == EPOLLOUT);
  CHECK(getOption(second, SOL_SOCKET, SO_ERROR) == 0);
}

TEST_CASE("set-up: a client whose final ACK finds the queue full believes that it is connected") {
  Fd listening = listener(SOCK_NONBLOCK, 0);
  // All SYNs come while the queue is empty. Each client throws the answer away for now, so that no
  // handshake goes on.
  std::array<Fd, 4> clients;
  for (Fd& fd : clients) {
    fd = tcpSocket(SOCK_NONBLOCK);
    cutCable(fd);
    CHECK(connectTo(fd, portOf(listening)) == -1);
  }
  for (Fd& fd : clients)
    mendCable(fd);
  // Repeated packets bring the answers, a second later. The queue has room for one connection.
  const auto connectedClients = [&] {
    return std::count_if(clients.begin(), clients.end(),
                         [](int fd) { return Epoll(fd, EPOLLOUT).look() == EPOLLOUT; });
  };
  REQUIRE(eventually([&] { return connectedClients() > 1; }));
  const auto believe = connectedClients();
  int accepted = 0;
  for (Fd server; (server = Fd(accept4(listening, nullptr, nullptr, SOCK_CLOEXEC))) >= 0;)
    ++accepted;
  CHECK(accepted == 1);
  MESSAGE("connected as the clients see it: " << believe << "; as the server does: " << accepted);
}

TEST_CASE("set-up: a non-blocking connect ends with OUT and SO_ERROR tells how") {
  Fd listening = listener();
  Fd good = tcpSocket(SOCK_NONBLOCK);
  if (connectTo(good, portOf(listening)) != 0) CHECK(errno == EINPROGRESS);
  CHECK(eventsOf(good, EPOLLOUT, EPOLLOUT) == EPOLLOUT);
  CHECK(getOption(good, SOL_SOCKET, SO_ERROR) == 0);

  const std::uint16_t nobody = portOf(listening);
  listening.close();
  Fd bad = tcpSocket(SOCK_NONBLOCK);
  CHECK(connectTo(bad, nobody) == -1);
  const int atOnce = errno;  // loopback may be quick enough to say it here
  if (atOnce == EINPROGRESS) {
    CHECK((eventsOf(bad, EPOLLOUT, EPOLLOUT) & (EPOLLERR | EPOLLHUP)) == (EPOLLERR | EPOLLHUP));
    CHECK(getOption(bad, SOL_SOCKET, SO_ERROR) == ECONNREFUSED);
  } else {
    CHECK(atOnce == ECONNREFUSED);
  }
}

TEST_CASE("set-up: accept on a non-blocking listener with nobody there gives EAGAIN") {
  Fd listening = listener(SOCK_NONBLOCK);
  CHECK(accept4(listening, nullptr, nullptr, SOCK_CLOEXEC) == -1);
  CHECK(errno == EAGAIN);
}

TEST_CASE("set-up: a connection that was reset in the queue is still accepted") {
  Fd listening = listener(SOCK_NONBLOCK);
  {
    Fd client = connected(portOf(listening));
    setLinger(client, 0);
  }  // reset
  Fd server(accept4(listening, nullptr, nullptr, SOCK_CLOEXEC));
  CHECK(server >= 0);  // Linux hands it out; other systems give ECONNABORTED
  CHECK(readSome(server) == Outcome{-1, ECONNRESET});
}

TEST_CASE("set-up: accepted sockets inherit TCP_NODELAY but not O_NONBLOCK") {
  Fd listening = listener(SOCK_NONBLOCK);
  setOption(listening, IPPROTO_TCP, TCP_NODELAY, 1);
  Fd client = connected(portOf(listening));
  Fd server(must(accept(listening, nullptr, nullptr), "accept"));
  CHECK(getOption(server, IPPROTO_TCP, TCP_NODELAY) == 1);
  CHECK((fcntl(server, F_GETFL) & O_NONBLOCK) == 0);
  CHECK((fcntl(server, F_GETFD) & FD_CLOEXEC) == 0);
  Fd another = connected(portOf(listening));
  Fd atOnce(must(accept4(listening, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC), "accept4"));
  CHECK((fcntl(atOnce, F_GETFL) & O_NONBLOCK) != 0);
  CHECK((fcntl(atOnce, F_GETFD) & FD_CLOEXEC) != 0);
}

TEST_CASE("set-up: out of descriptors the listener stays ready and a loop would spin") {
  const pid_t child = must(fork(), "fork");
  if (child == 0) {
    Fd listening = listener(SOCK_NONBLOCK);
    Fd client = connected(portOf(listening));
    Epoll epoll(listening, EPOLLIN);
    epoll.until(EPOLLIN);
    rlimit none{0, 0};  // the descriptors that exist stay; there will be no new one
    must(setrlimit(RLIMIT_NOFILE, &none), "setrlimit");
    int wakeUps = 0;
    for (int i = 0; i < 1000; ++i) {
      if (epoll.look() == 0) _exit(2);
      if (accept4(listening, nullptr, nullptr, SOCK_CLOEXEC) != -1 || errno != EMFILE) _exit(3);
      ++wakeUps;
    }
    _exit(wakeUps == 1000 ? 0 : 4);
  }
  int status = -1;
  waitpid(child, &status, 0);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}

TEST_CASE("set-up: SO_REUSEPORT lets two sockets listen and SO_REUSEADDR does not") {
  Fd first = tcpSocket();
  setOption(first, SOL_SOCKET, SO_REUSEADDR, 1);
  must(bindTo(first, 0), "bind");
  must(listen(first, 8), "listen");
  Fd second = tcpSocket();
  setOption(second, SOL_SOCKET, SO_REUSEADDR, 1);
  CHECK(bindTo(second, portOf(first)) == -1);
  CHECK(errno == EADDRINUSE);

  std::array<Fd, 2> sharing;
  for (Fd& fd : sharing) {
    fd = tcpSocket(SOCK_NONBLOCK);
    setOption(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    must(bindTo(fd, &fd == &sharing[0] ? std::uint16_t{0} : portOf(sharing[0])), "bind");
    must(listen(fd, SOMAXCONN), "listen");
  }
  // The kernel decides by a hash of the addresses which socket gets a connection: both get some.
  std::vector<Fd> clients;
  for (int i = 0; i < 100; ++i)
    clients.push_back(connected(portOf(sharing[0])));
  std::array<int, 2> accepted{};
  CHECK(eventually([&] {
    for (std::size_t k : {0U, 1U}) {
      Fd server(accept4(sharing[k], nullptr, nullptr, SOCK_CLOEXEC));
      if (server >= 0) ++accepted[k];
    }
    return accepted[0] + accepted[1] == 100;
  }));
  CHECK(accepted[0] > 0);
  CHECK(accepted[1] > 0);
  MESSAGE("of 100 connections, " << accepted[0] << " and " << accepted[1]);
}

TEST_CASE("set-up: a stream has no message boundaries") {
  TcpPair pair;
  put(pair.client, "one");
  put(pair.client, "two");
  put(pair.client, "three");
  std::string text(100, '\0');
  REQUIRE(eventually(
      [&] { return recv(pair.server, text.data(), text.size(), MSG_PEEK | MSG_DONTWAIT) == 11; }));
  CHECK(readSome(pair.server, 5) == Outcome{5, 0});    // "onetw": three sends, and any cut
  CHECK(readSome(pair.server, 100) == Outcome{6, 0});  // "othree"
}

TEST_CASE("set-up: Nagle holds a second small write back until the first is acknowledged") {
  const auto heldBack = [](bool noDelay) {
    TcpPair pair;
    if (noDelay) setOption(pair.client, IPPROTO_TCP, TCP_NODELAY, 1);
    // The receiver acknowledges late, as it does with a connection in which it has answered.
    // Whether it does so right now is up to it, so a few tries.
    for (int i = 0; i < 200; ++i) {
      setOption(pair.server, IPPROTO_TCP, TCP_QUICKACK, 0);
      put(pair.client, "head");
      put(pair.client, "body");
      const bool waits = notSentYet(pair.client) > 0;
      std::string text(8, '\0');
      REQUIRE(recv(pair.server, text.data(), text.size(), MSG_WAITALL) == 8);
      put(pair.server, "answer");
      REQUIRE(recv(pair.client, text.data(), 6, MSG_WAITALL) == 6);
      if (waits) return true;
    }
    return false;
  };
  CHECK(heldBack(false));
  CHECK_FALSE(heldBack(true));
}

TEST_CASE("set-up: write-write-read stalls for a delayed acknowledgement unless TCP_NODELAY") {
  const auto slowRounds = [](bool noDelay) {
    TcpPair pair;
    if (noDelay) setOption(pair.client, IPPROTO_TCP, TCP_NODELAY, 1);
    int slow = 0;
    std::string text(8, '\0');
    for (int i = 0; i < 30; ++i) {
      // As with a connection that is used in turns: there the receiver acknowledges late.
      setOption(pair.server, IPPROTO_TCP, TCP_QUICKACK, 0);
      const auto begin = std::chrono::steady_clock::now();
      put(pair.client, "head");
      put(pair.client, "body");
      REQUIRE(recv(pair.server, text.data(), 8, MSG_WAITALL) == 8);
      put(pair.server, "answer");
      REQUIRE(recv(pair.client, text.data(), 6, MSG_WAITALL) == 6);
      if (std::chrono::steady_clock::now() - begin >= 30ms) ++slow;
    }
    return slow;
  };
  const int nagle = slowRounds(false);
  const int noDelay = slowRounds(true);
  MESSAGE("rounds of 30 that took 30 ms or more: " << nagle << " with Nagle, " << noDelay
                                                   << " with TCP_NODELAY");
  CHECK(nagle >= 20);
  CHECK(noDelay <= 5);  // a machine's hiccups
}

TEST_CASE("set-up: TCP_CORK holds a part of a segment back for 200 ms at most") {
  TcpPair pair;
  setOption(pair.client, IPPROTO_TCP, TCP_CORK, 1);
  const auto begin = std::chrono::steady_clock::now();
  put(pair.client, "corked");
  CHECK(Epoll(pair.server, EPOLLIN).wait(10s) == EPOLLIN);  // nobody took the cork out
  CHECK(getOption(pair.client, IPPROTO_TCP, TCP_CORK) == 1);
  CHECK(std::chrono::steady_clock::now() - begin >= 150ms);
}

TEST_CASE("set-up: the kernel doubles what SO_RCVBUF asks for") {
  Fd fd = tcpSocket();
  setOption(fd, SOL_SOCKET, SO_RCVBUF, 20000);
  CHECK(getOption(fd, SOL_SOCKET, SO_RCVBUF) == 40000);
}

TEST_CASE("set-up: keep-alive is off and would wait for two hours by default") {
  Fd fd = tcpSocket();
  CHECK(getOption(fd, SOL_SOCKET, SO_KEEPALIVE) == 0);
  const int idleSeconds = getOption(fd, IPPROTO_TCP, TCP_KEEPIDLE);
  MESSAGE("TCP_KEEPIDLE: " << idleSeconds << " s, then " << getOption(fd, IPPROTO_TCP, TCP_KEEPCNT)
                           << " probes, " << getOption(fd, IPPROTO_TCP, TCP_KEEPINTVL)
                           << " s apart");
  if (idleSeconds != 7200) {
    MESSAGE("this host has set net.ipv4.tcp_keepalive_time");
    return;
  }
  CHECK(getOption(fd, IPPROTO_TCP, TCP_KEEPCNT) == 9);
  CHECK(getOption(fd, IPPROTO_TCP, TCP_KEEPINTVL) == 75);
}

TEST_CASE("set-up: inet_addr makes a number in network order and garbage a valid address") {
  const in_addr_t number = inet_addr("1.2.3.4");
  std::array<unsigned char, 4> bytes{};
  std::memcpy(bytes.data(), &number, sizeof number);
  CHECK(bytes == std::array<unsigned char, 4>{1, 2, 3, 4});
  CHECK(inet_addr("garbage") == inet_addr("255.255.255.255"));
  // And that is an address to which bind() agrees: a server with a mistyped one starts.
  Fd fd = tcpSocket();
  sockaddr_in mistyped = loopback(0);
  mistyped.sin_addr.s_addr = inet_addr("garbage");
  CHECK(bind(fd, reinterpret_cast<const sockaddr*>(&mistyped), sizeof mistyped) == 0);
  CHECK(inet_addr("1.2") == inet_addr("1.0.0.2"));  // it takes more than one would think
  // inet_pton takes nothing but the four numbers, and tells a bad text from a good one.
  in_addr address{};
  CHECK(inet_pton(AF_INET, "garbage", &address) == 0);
  CHECK(inet_pton(AF_INET, "1.2", &address) == 0);
  CHECK(inet_pton(AF_INET, "255.255.255.255", &address) == 1);
  // The way back is inet_ntoa, in a buffer that all share, or inet_ntop, in one's own.
  char text[INET_ADDRSTRLEN];
  const in_addr back{number};
  CHECK(std::string(inet_ntop(AF_INET, &back, text, sizeof text)) == "1.2.3.4");
}

TEST_CASE("set-up: network order is big-endian whatever the machine is") {
  const std::uint16_t port = htons(0x1234);
  std::array<unsigned char, 2> bytes{};
  std::memcpy(bytes.data(), &port, sizeof port);
  CHECK(bytes == std::array<unsigned char, 2>{0x12, 0x34});
}
