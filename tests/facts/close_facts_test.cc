// How a TCP connection ends: what each side sees, and what is lost.

#include <doctest/doctest.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#include <csignal>

#include "tests/facts/Kernel.h"

using namespace facts;

namespace {

constexpr std::uint32_t kAll = EPOLLIN | EPOLLRDHUP;

int stateOf(int fd) {
  tcp_info info{};
  socklen_t length = sizeof info;
  must(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length), "getsockopt TCP_INFO");
  return info.tcpi_state;
}

void reset(Fd& fd) {
  setLinger(fd, 0);
  fd.close();
}

/// Until EOF or an error.
std::size_t readToEnd(int fd, int& error) {
  std::size_t total = 0;
  Outcome last{};
  while ((last = readSome(fd, 65536)).result > 0)
    total += static_cast<std::size_t>(last.result);
  error = last.error;
  return total;
}

}  // namespace

TEST_CASE("close: the end of the stream is a read of 0 that leaves errno alone") {
  TcpPair pair;
  setNonBlocking(pair.server);
  CHECK(readSome(pair.server) == Outcome{-1, EAGAIN});  // nothing yet: -1, never 0
  pair.client.close();
  eventsOf(pair.server, EPOLLIN, EPOLLIN);
  CHECK(readSome(pair.server) == Outcome{0, 0});
  errno = EAGAIN;
  char byte = 0;
  CHECK(read(pair.server, &byte, 1) == 0);
  CHECK(errno == EAGAIN);                         // whatever was there before, which means nothing
  CHECK(readSome(pair.server) == Outcome{0, 0});  // and again, as often as one asks
}

TEST_CASE("close: a FIN gives IN and RDHUP if asked for but no HUP") {
  TcpPair pair;
  pair.client.close();
  CHECK(eventsOf(pair.server, EPOLLIN, EPOLLIN) == EPOLLIN);
  CHECK(eventsOf(pair.server, kAll, EPOLLIN) == (EPOLLIN | EPOLLRDHUP));
}

TEST_CASE("close: shutdown of writing is no event for oneself until the peer's FIN comes") {
  TcpPair pair;
  Epoll epoll(pair.server, kAll);
  must(shutdown(pair.server, SHUT_WR), "shutdown");
  CHECK(epoll.wait(50ms) == 0);
  pair.client.close();
  CHECK(epoll.until(EPOLLHUP) == (EPOLLIN | EPOLLRDHUP | EPOLLHUP));
  CHECK(readSome(pair.server) == Outcome{0, 0});
}

TEST_CASE("close: after a half-close the other direction goes on") {
  TcpPair pair;
  put(pair.client, "question");
  must(shutdown(pair.client, SHUT_WR), "shutdown");
  CHECK(readSome(pair.server).result == 8);  // what was sent before the FIN comes before it
  CHECK(readSome(pair.server).result == 0);
  CHECK(put(pair.server, "answer"));  // a read of 0 does not mean that the peer has gone
  CHECK(readSome(pair.client).result == 6);
}

TEST_CASE("close: a reset reports IN and ERR and HUP and the read gives ECONNRESET then 0") {
  TcpPair pair;
  reset(pair.client);
  CHECK(eventsOf(pair.server, EPOLLIN, EPOLLERR) == (EPOLLIN | EPOLLERR | EPOLLHUP));
  CHECK(eventsOf(pair.server, kAll, EPOLLERR) == (kAll | EPOLLERR | EPOLLHUP));
  CHECK(readSome(pair.server) == Outcome{-1, ECONNRESET});
  CHECK(readSome(pair.server) == Outcome{0, 0});
}

TEST_CASE("close: who asks for SO_ERROR first sees a reset as a clean end") {
  TcpPair pair;
  reset(pair.client);
  eventsOf(pair.server, EPOLLIN, EPOLLERR);
  CHECK(getOption(pair.server, SOL_SOCKET, SO_ERROR) == ECONNRESET);
  CHECK(readSome(pair.server) == Outcome{0, 0});
  CHECK(getOption(pair.server, SOL_SOCKET, SO_ERROR) == 0);  // told once
}

TEST_CASE("close: bytes that had arrived before a reset can still be read") {
  TcpPair pair;
  put(pair.client, "last words");
  eventsOf(pair.server, EPOLLIN, EPOLLIN);
  reset(pair.client);
  eventsOf(pair.server, EPOLLIN, EPOLLERR);
  CHECK(readSome(pair.server) == Outcome{10, 0});
  CHECK(readSome(pair.server) == Outcome{-1, ECONNRESET});
  CHECK(readSome(pair.server) == Outcome{0, 0});
}

TEST_CASE("close: bytes that were still in the sender's kernel die with a reset") {
  TcpPair pair;
  const std::size_t sent = fill(pair.client);
  reset(pair.client);
  eventsOf(pair.server, EPOLLIN, EPOLLERR);
  int error = 0;
  const std::size_t received = readToEnd(pair.server, error);
  CHECK(error == ECONNRESET);
  CHECK(received < sent);
  MESSAGE("of " << sent << " bytes that send() took, " << received << " were received");
}

TEST_CASE("close: without a reset all that send took arrives although the sender closed") {
  TcpPair pair;
  const std::size_t sent = fill(pair.client);
  pair.client.close();
  int error = 0;
  CHECK(readToEnd(pair.server, error) == sent);
  CHECK(error == 0);
}

TEST_CASE("close: the first write to a closed peer succeeds and the next is EPIPE and SIGPIPE") {
  TcpPair pair;
  pair.client.close();
  eventsOf(pair.server, EPOLLIN, EPOLLIN);
  CHECK(put(pair.server, "into the void"));
  eventsOf(pair.server, EPOLLIN, EPOLLERR);  // its answer: a reset
  errno = 0;
  CHECK(send(pair.server, "x", 1, MSG_NOSIGNAL) == -1);
  CHECK(errno == EPIPE);

  // Without MSG_NOSIGNAL it comes with a signal, which ends a process that does not expect it.
  sigset_t pipeSignal, before;
  sigemptyset(&pipeSignal);
  sigaddset(&pipeSignal, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipeSignal, &before);
  CHECK(write(pair.server, "x", 1) == -1);
  const timespec now{};
  CHECK(sigtimedwait(&pipeSignal, nullptr, &now) == SIGPIPE);
  // With MSG_NOSIGNAL there is none.
  CHECK(send(pair.server, "x", 1, MSG_NOSIGNAL) == -1);
  CHECK(sigtimedwait(&pipeSignal, nullptr, &now) == -1);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

TEST_CASE("close: closing with unread input sends a reset instead of a FIN") {
  TcpPair pair;
  put(pair.client, "never read");
  eventsOf(pair.server, EPOLLIN, EPOLLIN);
  pair.server.close();
  eventsOf(pair.client, EPOLLIN, EPOLLERR);
  CHECK(readSome(pair.client) == Outcome{-1, ECONNRESET});
}

TEST_CASE("close: SO_LINGER of 0 seconds sends a reset") {
  TcpPair pair;
  setLinger(pair.client, 0);
  pair.client.close();
  eventsOf(pair.server, EPOLLIN, EPOLLERR);
  CHECK(readSome(pair.server) == Outcome{-1, ECONNRESET});
}

TEST_CASE("close: SO_LINGER of some seconds blocks close also on a non-blocking socket") {
  for (const bool nonBlocking : {false, true}) {
    CAPTURE(nonBlocking);
    TcpPair pair;
    fill(pair.server);  // the client never reads, so this never goes out
    if (nonBlocking) setNonBlocking(pair.server);
    setLinger(pair.server, 1);
    const auto begin = std::chrono::steady_clock::now();
    pair.server.close();
    CHECK(std::chrono::steady_clock::now() - begin >= 900ms);
  }
}

TEST_CASE("close: the connection ends when the last duplicate is closed but shutdown ends it now") {
  TcpPair pair;
  Fd duplicate(must(dup(pair.server), "dup"));
  pair.server.close();
  CHECK(Epoll(pair.client, kAll).wait(50ms) == 0);  // nobody was told anything
  must(shutdown(duplicate, SHUT_WR), "shutdown");
  CHECK(eventsOf(pair.client, kAll, EPOLLRDHUP) == kAll);
}

struct SilentProcess {
  pid_t child;
  Fd server;  // our end of its connection
};

/// A process that connects to us and then does nothing.
SilentProcess silentProcess() {
  const Fd listening = listener();
  const std::uint16_t port = portOf(listening);
  const pid_t child = must(fork(), "fork");
  if (child == 0) {
    const Fd fd = tcpSocket();
    if (connectTo(fd, port) != 0) _exit(1);
    for (;;)
      pause();
  }
  return {child, Fd(must(accept4(listening, nullptr, nullptr, SOCK_CLOEXEC), "accept4"))};
}

TEST_CASE("close: a process that is killed closes its connections like any other") {
  for (const bool unread : {false, true}) {
    CAPTURE(unread);
    const auto [child, server] = silentProcess();
    if (unread) put(server, "the child will never read this");
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    CHECK(WIFSIGNALED(status));
    // The kernel closes its descriptors: a FIN, or a reset if there was unread input.
    eventsOf(server, EPOLLIN, EPOLLIN);
    CHECK(readSome(server) == (unread ? Outcome{-1, ECONNRESET} : Outcome{0, 0}));
  }
}

TEST_CASE("close: TCP_INFO knows what packets have told and nothing of a silent peer") {
  TcpPair pair;
  CHECK(stateOf(pair.server) == TCP_ESTABLISHED);
  must(shutdown(pair.client, SHUT_WR), "shutdown");
  eventsOf(pair.server, EPOLLIN, EPOLLIN);
  CHECK(stateOf(pair.server) == TCP_CLOSE_WAIT);
  CHECK(put(pair.server, "still open"));  // "not ESTABLISHED" is not "gone"

  TcpPair second;
  reset(second.client);
  eventsOf(second.server, EPOLLIN, EPOLLERR);
  CHECK(stateOf(second.server) == TCP_CLOSE);

  // A stopped process answers nothing, and no packet says so.
  const auto [child, server] = silentProcess();
  kill(child, SIGSTOP);
  int status = 0;
  waitpid(child, &status, WUNTRACED);
  CHECK(stateOf(server) == TCP_ESTABLISHED);
  CHECK(put(server, "is anybody there?"));  // the other kernel even acknowledges it
  kill(child, SIGKILL);
  waitpid(child, &status, 0);
}

TEST_CASE("close: who closes first keeps the port in TIME_WAIT") {
  const auto portInTimeWait = [](bool reuse) {
    Fd listening = tcpSocket();
    if (reuse) setOption(listening, SOL_SOCKET, SO_REUSEADDR, 1);
    must(bindTo(listening, 0), "bind");
    must(listen(listening, 1), "listen");
    const std::uint16_t port = portOf(listening);
    TcpPair pair(listening);
    pair.server.close();  // the active close
    REQUIRE(readSome(pair.client).result == 0);
    pair.client.close();
    return port;
  };
  const auto bindAgain = [](std::uint16_t port, bool reuse) {
    Fd fd = tcpSocket();
    if (reuse) setOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    return bindTo(fd, port) == 0 ? 0 : errno;
  };
  const std::uint16_t plain = portInTimeWait(false);
  CHECK(bindAgain(plain, false) == EADDRINUSE);
  // The old socket must have had the option as well: the connection inherited it.
  CHECK(bindAgain(plain, true) == EADDRINUSE);
  const std::uint16_t reusable = portInTimeWait(true);
  CHECK(bindAgain(reusable, false) == EADDRINUSE);
  CHECK(bindAgain(reusable, true) == 0);
}

TEST_CASE("close: the passive closer has no TIME_WAIT") {
  Fd listening = listener();
  const std::uint16_t port = portOf(listening);
  {
    TcpPair pair(listening);
    pair.client.close();
    REQUIRE(readSome(pair.server).result == 0);
    pair.server.close();
  }
  listening.close();
  Fd fd = tcpSocket();
  // Its last FIN must be acknowledged first, which takes a moment.
  CHECK(eventually([&] { return bindTo(fd, port) == 0; }));
}
