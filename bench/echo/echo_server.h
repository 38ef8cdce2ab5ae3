#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "bench/arguments.h"
#include "bench/machine.h"

// What the echo servers have in common: the command line, the listening socket, the accounting.
// Each has one thread, and takes SIGTERM (exit, status 0) and SIGUSR1 (print the accounting) in the
// way its library offers.

namespace bench {

/// How much one read may take; the same for every server that lets one choose.
constexpr std::size_t kReadBytes = 65536;

/// From this much unsent output on, nothing more is read from that connection. rung's default.
constexpr std::size_t kHighWaterBytes = 1 << 20;

struct ServerOptions {
  std::uint16_t port = 0;
  bool edgeTriggered = false;
};

inline ServerOptions parseServerOptions(int argc, char** argv, bool offersEdgeTriggered = false) {
  std::string usage = "usage: " + std::string(argv[0]) + " [--port N]";
  usage += offersEdgeTriggered ? " [--et]\n" : "\n";
  usage +=
      "An echo server on 127.0.0.1; port 0, the default, is a free one.\n"
      "SIGTERM ends it, SIGUSR1 makes it print what it has done and used.\n";
  if (offersEdgeTriggered) usage += "  --et  edge-triggered epoll instead of level-triggered\n";
  Arguments arguments(argc, argv, offersEdgeTriggered ? "--et" : "", usage);
  ServerOptions options;
  options.port = static_cast<std::uint16_t>(arguments.number("--port", 0, 0, 65535));
  if (offersEdgeTriggered) options.edgeTriggered = arguments.flag("--et");
  arguments.refuseOthers();
  raiseDescriptorLimit();
  return options;
}

[[noreturn]] inline void fail(const char* call) {
  std::perror(call);
  std::exit(1);
}

/// The socket that a server listens on. Connections inherit TCP_NODELAY from it, which saves every
/// server a system call for each.
inline int listenOn(std::uint16_t port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("socket");
  const int on = 1;
  if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0) fail("SO_REUSEADDR");
  if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) fail("TCP_NODELAY");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) fail("bind");
  if (listen(fd, SOMAXCONN) != 0) fail("listen");
  return fd;
}

inline void announce(int listener) {
  sockaddr_in address{};
  socklen_t length = sizeof address;
  if (getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length) != 0)
    fail("getsockname");
  std::printf("listening on 127.0.0.1:%u\n", ntohs(address.sin_port));
  std::fflush(stdout);
}

/// What a server has done. It counts reads, not messages: TCP has none, and a message that came in
/// two pieces, or two that came in one, only the client can count.
struct Accounting {
  std::uint64_t reads = 0;
  std::uint64_t bytes = 0;
  std::uint64_t connections = 0;
  std::uint64_t waits = 0;  // returns of epoll_wait, where the server sees them

  void readDone(std::size_t size) {
    ++reads;
    bytes += size;
  }

  /// One line of JSON, with the CPU time and the memory of the whole process so far.
  void print() const {
    rusage usage{};
    (void)getrusage(RUSAGE_SELF, &usage);  // fails only for bad arguments
    const auto microseconds = [](const timeval& time) {
      return static_cast<long long>(time.tv_sec) * 1'000'000 + time.tv_usec;
    };
    std::printf(
        "{\"user_us\": %lld, \"system_us\": %lld, \"rss_bytes\": %llu, \"reads\": %llu, "
        "\"bytes\": %llu, \"connections\": %llu, \"waits\": %llu}\n",
        microseconds(usage.ru_utime), microseconds(usage.ru_stime), wide(residentBytes()),
        wide(reads), wide(bytes), wide(connections), wide(waits));
    std::fflush(stdout);
  }

 private:
  static unsigned long long wide(std::uint64_t number) { return number; }
};

}  // namespace bench
