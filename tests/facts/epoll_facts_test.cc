// What epoll(7) does with a descriptor, whatever the interview collections say.

#include <doctest/doctest.h>
#include <linux/sock_diag.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include <array>
#include <cstdlib>

#include "tests/facts/Kernel.h"

using namespace facts;

TEST_CASE("epoll: level-triggered reports unread bytes at each wait and edge-triggered once") {
  TcpPair pair;
  put(pair.client, "unread");
  Epoll level(pair.server, EPOLLIN);
  CHECK(level.until(EPOLLIN) == EPOLLIN);
  CHECK(level.look() == EPOLLIN);
  CHECK(level.look() == EPOLLIN);

  Epoll edge(pair.server, EPOLLIN | EPOLLET);
  CHECK(edge.look() == EPOLLIN);
  CHECK(edge.look() == 0);
  CHECK(edge.look() == 0);
}

TEST_CASE("epoll: edge-triggered reports new bytes although old ones are unread") {
  TcpPair pair;
  Epoll edge(pair.server, EPOLLIN | EPOLLET);
  put(pair.client, "old");
  CHECK(edge.until(EPOLLIN) == EPOLLIN);
  CHECK(edge.look() == 0);
  put(pair.client, "new");
  CHECK(edge.until(EPOLLIN) == EPOLLIN);
  CHECK(readSome(pair.server).result == 6);
}

TEST_CASE("epoll: edge-triggered never reports leftovers alone") {
  TcpPair pair;
  Epoll edge(pair.server, EPOLLIN | EPOLLET);
  put(pair.client, "abcdef");
  CHECK(edge.until(EPOLLIN) == EPOLLIN);
  CHECK(readSome(pair.server, 2).result == 2);
  // Four bytes wait, and nobody says so.
  CHECK(edge.wait(50ms) == 0);
  // Registering once more asks anew; so EPOLL_CTL_MOD is a way to be told.
  edge.change(pair.server, EPOLLIN | EPOLLET);
  CHECK(edge.look() == EPOLLIN);
}

TEST_CASE("epoll: edge-triggered on a stream needs no read that ends in EAGAIN") {
  TcpPair pair;
  setNonBlocking(pair.server);
  Epoll edge(pair.server, EPOLLIN | EPOLLET);
  for (int i = 0; i < 100; ++i) {
    put(pair.client, "ping");
    REQUIRE(edge.until(EPOLLIN) == EPOLLIN);
    // Fewer bytes than asked for: the queue was empty at that moment, and what comes later is an
    // edge of its own. A read that finds EAGAIN would tell nothing new.
    REQUIRE(readSome(pair.server).result == 4);
  }
  // The end of the stream is an edge, too.
  pair.client.close();
  CHECK((edge.until(EPOLLIN) & EPOLLIN) != 0);
  CHECK(readSome(pair.server) == Outcome{0, 0});
}

TEST_CASE("epoll: edge-triggered accepts a blocking descriptor whose next read may block") {
  TcpPair pair;
  Epoll edge;
  CHECK(edge.control(EPOLL_CTL_ADD, pair.server, EPOLLIN | EPOLLET) == 0);
  put(pair.client, "bytes");
  CHECK(edge.until(EPOLLIN) == EPOLLIN);
  CHECK(readSome(pair.server).result == 5);
  // "Read until EAGAIN" would now wait for ever. A time limit shows that it waits.
  const timeval limit{0, 50'000};
  must(setsockopt(pair.server, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), "SO_RCVTIMEO");
  const auto begin = std::chrono::steady_clock::now();
  CHECK(readSome(pair.server) == Outcome{-1, EAGAIN});
  CHECK(std::chrono::steady_clock::now() - begin >= 40ms);
}

namespace {

/// What sk_stream_is_writeable() looks at, in the kernel's bytes, its bookkeeping included.
struct SendBuffer {
  std::uint32_t used, size;
  [[nodiscard]] std::uint32_t free() const { return size > used ? size - used : 0; }
};

SendBuffer sendBufferOf(int fd) {
  std::array<std::uint32_t, SK_MEMINFO_VARS> values{};
  socklen_t length = sizeof values;
  must(getsockopt(fd, SOL_SOCKET, SO_MEMINFO, values.data(), &length), "getsockopt SO_MEMINFO");
  return {values[SK_MEMINFO_WMEM_QUEUED], values[SK_MEMINFO_SNDBUF]};
}

/// Two writes of 100 bytes, one after the other or both before the reader looks, who takes `atMost`
/// bytes an event. Counts how often epoll_wait had something to say.
int countReturns(std::uint32_t mode, int writesAtOnce, std::size_t atMost) {
  TcpPair pair;
  setNonBlocking(pair.server);
  Epoll epoll(pair.server, EPOLLIN | mode);
  const std::string text(100, 'x');
  std::string peeked(300, '\0');
  int returns = 0;
  for (int written = 0; written < 2; written += writesAtOnce) {
    for (int i = 0; i < writesAtOnce; ++i)
      put(pair.client, text);
    // All of it is there before the first look, so that waits of no time are exact.
    REQUIRE(eventually([&] {
      return recv(pair.server, peeked.data(), peeked.size(), MSG_PEEK) == 100 * writesAtOnce;
    }));
    while (epoll.look() != 0) {
      ++returns;
      (void)readSome(pair.server, atMost);
    }
  }
  return returns;
}

}  // namespace

TEST_CASE("epoll: who reads all that is there gets as many reports level- as edge-triggered") {
  CHECK(countReturns(0, 1, 4096) == 2);
  CHECK(countReturns(EPOLLET, 1, 4096) == 2);
  // Two writes before the first look are one report either way.
  CHECK(countReturns(0, 2, 4096) == 1);
  CHECK(countReturns(EPOLLET, 2, 4096) == 1);
  // Only who leaves bytes behind sees a difference: 200 bytes in pieces of 50.
  CHECK(countReturns(0, 2, 50) == 4);
  CHECK(countReturns(EPOLLET, 2, 50) == 1);
}

TEST_CASE("epoll: reading until EAGAIN costs a system call a message more") {
  TcpPair pair;
  setNonBlocking(pair.server);
  constexpr int kMessages = 50;
  const auto calls = [&](std::uint32_t mode, bool untilEagain) {
    Epoll epoll(pair.server, EPOLLIN | mode);
    int count = 0;
    for (int i = 0; i < kMessages; ++i) {
      put(pair.client, "message");
      REQUIRE((epoll.wait(10s) & EPOLLIN) != 0);
      ++count;
      do {
        ++count;
      } while (readSome(pair.server).result > 0 && untilEagain);
    }
    return count;
  };
  CHECK(calls(0, false) == 2 * kMessages);
  CHECK(calls(EPOLLET, false) == 2 * kMessages);
  CHECK(calls(EPOLLET, true) == 3 * kMessages);
}

TEST_CASE("epoll: EPOLLONESHOT reports once until it is armed again") {
  TcpPair pair;
  Epoll epoll(pair.server, EPOLLIN | EPOLLONESHOT);
  put(pair.client, "first");
  CHECK(epoll.until(EPOLLIN) == EPOLLIN);
  put(pair.client, "second");
  CHECK(epoll.wait(50ms) == 0);  // where EPOLLET would have reported the new bytes
  epoll.change(pair.server, EPOLLIN | EPOLLONESHOT);
  CHECK(epoll.look() == EPOLLIN);
}

TEST_CASE("epoll: EPOLLOUT waits until a third of the send buffer is free") {
  for (int round = 0; round < 5; ++round) {
    TcpPair pair;
    setOption(pair.server, SOL_SOCKET, SO_SNDBUF, 1 << 18);
    CHECK(eventsOf(pair.server, EPOLLOUT, EPOLLOUT) == EPOLLOUT);  // an empty buffer is writable
    fill(pair.server);
    Epoll epoll(pair.server, EPOLLOUT);
    REQUIRE(epoll.look() == 0);
    // The peer reads little by little. Each time that epoll still says no, one byte is tried.
    int sentWithoutEvent = 0;
    SendBuffer last{};
    std::string piece(4096, '\0');
    REQUIRE(eventually([&] {
      (void)recv(pair.client, piece.data(), piece.size(), MSG_DONTWAIT);
      const SendBuffer before = sendBufferOf(pair.server);
      if (epoll.look() != 0) return true;
      last = before;  // at this look, and so before the report
      if (send(pair.server, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1) ++sentWithoutEvent;
      return false;
    }));
    CHECK(sentWithoutEvent >= 10);
    const SendBuffer now = sendBufferOf(pair.server);
    MESSAGE("free when it came: " << now.free() << " of " << now.size << " bytes, "
                                  << sentWithoutEvent << " one-byte sends before");
    CHECK(now.free() * 3 >= now.size);
    CHECK(last.free() * 10 < last.size * 4);  // it did not wait for much more than a third
  }
}

TEST_CASE("epoll: level-triggered EPOLLOUT is reported at each wait while there is room") {
  TcpPair pair;
  Epoll level(pair.server, EPOLLOUT);
  for (int i = 0; i < 1000; ++i) {
    REQUIRE(level.look() == EPOLLOUT);
  }
}

TEST_CASE("epoll: a socket that was never connected reports OUT and HUP") {
  Fd fd = tcpSocket();
  CHECK(Epoll(fd, EPOLLIN | EPOLLOUT).look() == (EPOLLOUT | EPOLLHUP));
}

TEST_CASE("epoll: errors and hang-ups come without being asked for") {
  TcpPair pair;
  Epoll epoll(pair.server, 0);
  CHECK(epoll.look() == 0);
  setLinger(pair.client, 0);
  pair.client.close();  // a reset
  CHECK(epoll.until(EPOLLERR) == (EPOLLERR | EPOLLHUP));
}

TEST_CASE("epoll: EPOLLPRI tells of an urgent byte which an ordinary read throws away") {
  TcpPair pair;
  setNonBlocking(pair.server);
  char byte = 0;
  REQUIRE(send(pair.client, "!", 1, MSG_OOB) == 1);
  CHECK((eventsOf(pair.server, EPOLLIN | EPOLLPRI, EPOLLPRI) & EPOLLPRI) != 0);
  CHECK(recv(pair.server, &byte, 1, MSG_OOB) == 1);
  CHECK(byte == '!');

  REQUIRE(send(pair.client, "?", 1, MSG_OOB) == 1);
  eventsOf(pair.server, EPOLLIN | EPOLLPRI, EPOLLPRI);
  CHECK(readSome(pair.server) == Outcome{-1, EAGAIN});
  CHECK(recv(pair.server, &byte, 1, MSG_OOB) == -1);
  CHECK(errno == EINVAL);
}

TEST_CASE("epoll: an epoll descriptor cannot be mapped and its results are copied out") {
  Epoll epoll;
  errno = 0;
  CHECK(mmap(nullptr, 4096, PROT_READ, MAP_SHARED, epoll.fd(), 0) == MAP_FAILED);
  CHECK(errno == ENODEV);

  Fd ready(must(eventfd(1, EFD_CLOEXEC), "eventfd"));
  epoll.add(ready, EPOLLIN);
  // With nothing to write to, the kernel's copy fails: there is no memory that both share.
  void* const page = mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(page != MAP_FAILED);
  auto* const results = static_cast<epoll_event*>(page);
  // It is the copy that fails, and no look at the address before: without an event nothing does.
  CHECK(epoll_wait(Epoll().fd(), results, 1, 0) == 0);
  CHECK(epoll_wait(epoll.fd(), results, 1, 0) == -1);
  CHECK(errno == EFAULT);
  CHECK(epoll.look() == EPOLLIN);  // and the event was not lost
  munmap(page, 4096);
}

TEST_CASE("epoll: a closed descriptor is reported as long as a duplicate lives") {
  TcpPair pair;
  Epoll epoll(pair.server, EPOLLIN);
  Fd duplicate(must(dup(pair.server), "dup"));
  const int number = pair.server;
  pair.server.close();
  put(pair.client, "for whom?");
  CHECK(epoll.until(EPOLLIN) == EPOLLIN);
  // And it cannot be removed any more: the number that it was registered by means nothing now.
  CHECK(epoll.control(EPOLL_CTL_DEL, number, 0) == -1);
  CHECK(errno == EBADF);
  duplicate.close();
  CHECK(epoll.look() == 0);  // the last one has gone
}

TEST_CASE("epoll: a regular file is refused with EPERM") {
  Fd file(must(open("/proc/self/exe", O_RDONLY | O_CLOEXEC), "open"));
  Epoll epoll;
  CHECK(epoll.control(EPOLL_CTL_ADD, file, EPOLLIN) == -1);
  CHECK(errno == EPERM);
  // poll(2) takes it, and says what there is to say: a file is always ready.
  pollfd always{file, POLLIN | POLLOUT, 0};
  CHECK(poll(&always, 1, 0) == 1);
  CHECK(always.revents == (POLLIN | POLLOUT));
}

TEST_CASE("epoll: adding twice is EEXIST and changing an unknown one ENOENT") {
  Fd fd(must(eventfd(0, EFD_CLOEXEC), "eventfd"));
  Epoll epoll;
  CHECK(epoll.control(EPOLL_CTL_MOD, fd, EPOLLIN) == -1);
  CHECK(errno == ENOENT);
  epoll.add(fd, EPOLLIN);
  CHECK(epoll.control(EPOLL_CTL_ADD, fd, EPOLLIN) == -1);
  CHECK(errno == EEXIST);
  CHECK(epoll.control(EPOLL_CTL_ADD, epoll.fd(), EPOLLIN) == -1);  // itself
  CHECK(errno == EINVAL);
}

TEST_CASE("epoll: what one wait has no room for comes with the next in turn") {
  std::array<Fd, 5> ready;
  Epoll epoll;
  for (Fd& fd : ready) {
    fd = Fd(must(eventfd(1, EFD_CLOEXEC), "eventfd"));
    epoll.add(fd, EPOLLIN);
  }
  // Room for one, all five level-triggered and never read: each gets its turn all the same.
  std::array<int, 5> seen{};
  for (int i = 0; i < 50; ++i) {
    epoll_event event{};
    REQUIRE(epoll_wait(epoll.fd(), &event, 1, 0) == 1);
    for (std::size_t k = 0; k < ready.size(); ++k) {
      if (event.data.fd == ready[k]) ++seen[k];
    }
  }
  CHECK(seen == std::array<int, 5>{10, 10, 10, 10, 10});
}
