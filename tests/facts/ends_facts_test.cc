// The ends of a connection that the usual rules leave out.

#include <doctest/doctest.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include "tests/facts/Kernel.h"

using namespace facts;

namespace {

constexpr std::uint32_t kAll = EPOLLIN | EPOLLRDHUP;

tcp_info infoOf(int fd) {
  tcp_info info{};
  socklen_t length = sizeof info;
  must(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length), "getsockopt TCP_INFO");
  return info;
}

/// Bytes that send() took: SIOCOUTQ, those that are not acknowledged; SIOCOUTQNSD, not even sent.
int queued(int fd, unsigned long which) {
  int bytes = -1;
  must(ioctl(fd, which, &bytes), "ioctl");
  return bytes;
}

}  // namespace

TEST_CASE("ends: after the peer's FIN a reset is EPIPE and the read gives 0 and again 0") {
  TcpPair pair;
  pair.client.close();
  eventsOf(pair.server, EPOLLIN, EPOLLIN);
  CHECK(put(pair.server, "for a socket that is closed"));
  // Its answer is a reset. All four events come, and no read ever tells of it.
  CHECK(eventsOf(pair.server, kAll, EPOLLERR) == (kAll | EPOLLERR | EPOLLHUP));
  CHECK(readSome(pair.server) == Outcome{0, 0});
  CHECK(readSome(pair.server) == Outcome{0, 0});
  CHECK(getOption(pair.server, SOL_SOCKET, SO_ERROR) == EPIPE);
}

TEST_CASE("ends: HUP comes while our FIN still waits behind bytes that were not sent") {
  TcpPair pair;
  const std::size_t taken = fill(pair.server);  // the client does not read
  must(shutdown(pair.server, SHUT_WR), "shutdown");
  must(shutdown(pair.client, SHUT_WR), "shutdown");
  CHECK(eventsOf(pair.server, kAll, EPOLLHUP) == (kAll | EPOLLHUP));
  CHECK(queued(pair.server, SIOCOUTQNSD) > 0);
  MESSAGE("EPOLLHUP with " << queued(pair.server, SIOCOUTQ) << " of " << taken
                           << " bytes not acknowledged");
  CHECK(eventsOf(pair.client, kAll, EPOLLIN) == EPOLLIN);  // no FIN has come there
}

TEST_CASE("ends: RDHUP comes from our own SHUT_RD as well though the peer is alive") {
  TcpPair pair;
  must(shutdown(pair.server, SHUT_RD), "shutdown");
  CHECK(eventsOf(pair.server, kAll, EPOLLRDHUP) == kAll);
  CHECK(infoOf(pair.server).tcpi_state == TCP_ESTABLISHED);
  CHECK(put(pair.client, "still here"));
}

TEST_CASE("ends: with a cut cable both ends stay ESTABLISHED and only unanswered bytes tell") {
  TcpPair pair;
  cutCable(pair.server);
  cutCable(pair.client);
  // The peer goes, and the packets that say so do not arrive.
  CHECK(put(pair.server, "is anybody there?"));
  pair.client.close();
  Epoll epoll(pair.server, kAll);
  CHECK(epoll.wait(50ms) == 0);
  CHECK(infoOf(pair.server).tcpi_state == TCP_ESTABLISHED);
  CHECK(queued(pair.server, SIOCOUTQ) == 17);
  CHECK(eventually([&] { return infoOf(pair.server).tcpi_total_retrans > 0; }));
  CHECK(infoOf(pair.server).tcpi_state == TCP_ESTABLISHED);
  // TCP_USER_TIMEOUT ends the wait. The retransmissions of a loopback begin after 200 ms.
  setOption(pair.server, IPPROTO_TCP, TCP_USER_TIMEOUT, 1);
  CHECK((epoll.wait(10s) & EPOLLERR) != 0);
  CHECK(readSome(pair.server) == Outcome{-1, ETIMEDOUT});
}
