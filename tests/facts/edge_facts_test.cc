// Edge-triggered mode where its rules of thumb end: what is an edge, and what is none.

#include <doctest/doctest.h>
#include <linux/sockios.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include "tests/facts/Kernel.h"

using namespace facts;

namespace {

/// Until `bytes` wait at `fd`: after that, waits of no time are exact.
bool arrived(int fd, std::size_t bytes) {
  std::string text(bytes + 1, '\0');
  return eventually([&] {
    return recv(fd, text.data(), text.size(), MSG_PEEK | MSG_DONTWAIT) ==
           static_cast<ssize_t>(bytes);
  });
}

}  // namespace

TEST_CASE("edge: three arrivals before a wait are one report") {
  TcpPair pair;
  Epoll edge(pair.server, EPOLLIN | EPOLLET);
  for (const char* text : {"one", "two", "six"})
    put(pair.client, text);
  REQUIRE(arrived(pair.server, 9));
  CHECK(edge.look() == EPOLLIN);
  CHECK(edge.look() == 0);
}

TEST_CASE("edge: write interest is reported at registration and with each arrival, too") {
  TcpPair pair;
  Epoll edge(pair.server, EPOLLIN | EPOLLOUT | EPOLLET);
  // The socket was never full. It is writable when it is registered: that is a report.
  CHECK(edge.look() == EPOLLOUT);
  CHECK(edge.look() == 0);
  // And bytes that come in wake the entry, whose whole mask is looked at then.
  put(pair.client, "bytes");
  REQUIRE(arrived(pair.server, 5));
  CHECK(edge.look() == (EPOLLIN | EPOLLOUT));
  CHECK(edge.look() == 0);
}

TEST_CASE("edge: a read that ends at an urgent mark is short and leaves bytes without a report") {
  TcpPair pair;
  setNonBlocking(pair.server);
  Epoll edge(pair.server, EPOLLIN | EPOLLET);
  put(pair.client, "abc");
  REQUIRE(send(pair.client, "!", 1, MSG_OOB) == 1);
  put(pair.client, "defghi");
  // Until all has come and is acknowledged. What waits at the reader does not tell: it is counted
  // up to the mark.
  REQUIRE(eventually([&] {
    int unacknowledged = -1;
    must(ioctl(pair.client, SIOCOUTQ, &unacknowledged), "ioctl SIOCOUTQ");
    return unacknowledged == 0;
  }));
  CHECK(edge.look() == EPOLLIN);
  CHECK(readSome(pair.server) == Outcome{3, 0});  // room for 4096, and yet the queue is not empty
  CHECK(edge.wait(50ms) == 0);
  CHECK(readSome(pair.server) == Outcome{6, 0});
}

TEST_CASE("edge: a reset is reported once where level-triggered reports it at each wait") {
  TcpPair pair;
  Epoll level(pair.server, 0);
  Epoll edge(pair.server, EPOLLET);
  setLinger(pair.client, 0);
  pair.client.close();
  CHECK(level.until(EPOLLERR) == (EPOLLERR | EPOLLHUP));
  CHECK(level.look() == (EPOLLERR | EPOLLHUP));
  CHECK(edge.look() == (EPOLLERR | EPOLLHUP));
  CHECK(edge.look() == 0);
}

TEST_CASE("edge: a disarmed EPOLLONESHOT reports neither an error nor a hang-up") {
  TcpPair pair;
  Epoll epoll(pair.server, EPOLLIN | EPOLLONESHOT);
  put(pair.client, "once");
  CHECK(epoll.until(EPOLLIN) == EPOLLIN);
  setLinger(pair.client, 0);
  pair.client.close();
  eventsOf(pair.server, 0, EPOLLERR);  // another epoll hears of it
  CHECK(epoll.wait(50ms) == 0);
  epoll.change(pair.server, EPOLLONESHOT);
  CHECK(epoll.look() == (EPOLLERR | EPOLLHUP));
}
