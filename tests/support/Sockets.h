#pragma once

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <string_view>

#include "rung/base/UniqueFd.h"

namespace rung::testing {

/// Two connected, non-blocking, close-on-exec stream sockets.
struct SocketPair {
  SocketPair() {
    int fds[2];
    (void)checkedFd(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds),
                    "socketpair")
        .release();
    ours = UniqueFd(fds[0]);
    theirs = UniqueFd(fds[1]);
  }
  UniqueFd ours;
  UniqueFd theirs;
};

/// A pipe whose ends are non-blocking.
struct Pipe {
  Pipe() {
    int fds[2];
    (void)checkedFd(pipe2(fds, O_NONBLOCK | O_CLOEXEC), "pipe2").release();
    readEnd = UniqueFd(fds[0]);
    writeEnd = UniqueFd(fds[1]);
  }
  UniqueFd readEnd;
  UniqueFd writeEnd;
};

/// A datagram socket that is connected to a port of this machine which nobody has: the kernel
/// refuses each datagram, with ECONNREFUSED for the next call.
inline UniqueFd toNobody() {
  UniqueFd fd = checkedFd(socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* const any = reinterpret_cast<sockaddr*>(&address);
  {
    const UniqueFd other = checkedFd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");
    (void)bind(other.get(), any, length);  // its port is free when this goes
    (void)getsockname(other.get(), any, &length);
  }
  (void)connect(fd.get(), any, length);
  return fd;
}

inline bool put(const UniqueFd& fd, std::string_view text) {
  return write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

/// What one read(2) gives; empty at the end of file or when there is nothing.
inline std::string take(int fd, std::size_t atMost = 4096) {
  std::string text(atMost, '\0');
  const ssize_t n = read(fd, text.data(), text.size());
  text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  return text;
}

}  // namespace rung::testing
