#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "bench/machine.h"

// What the load client stands on: its bytes, its sockets, and what it asks about the server.

namespace bench {

/// What a connection sends: an endless stream, the same bytes again after a prime number of them,
/// so that no two pieces of a usual size are alike. Each connection begins at another place.
class Pattern {
 public:
  static constexpr std::size_t kMostAtOnce = 1 << 20;

  Pattern() : bytes_(kPeriod + kMostAtOnce) {
    std::mt19937 random(1);  // the same in every run
    for (std::size_t i = 0; i < kPeriod; ++i)
      bytes_[i] = static_cast<char>(random());
    for (std::size_t i = kPeriod; i < bytes_.size(); ++i)
      bytes_[i] = bytes_[i - kPeriod];
  }

  /// The bytes of connection `number` from `offset` on: up to kMostAtOnce of them.
  [[nodiscard]] const char* at(std::size_t number, std::uint64_t offset) const {
    return bytes_.data() + (offset + number * 7919) % kPeriod;
  }

 private:
  static constexpr std::size_t kPeriod = 65521;
  std::vector<char> bytes_;
};

[[noreturn]] inline void throwErrno(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

inline sockaddr_in loopback(std::uint32_t host, std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl((std::uint32_t{127} << 24) + host);
  return address;
}

/// A socket that connects to 127.0.0.1:port. Without blocking, the connection may not be there yet.
/// It comes from one of 200 loopback addresses in turn: each has ports of its own, which would
/// otherwise run out while closed connections are in TIME_WAIT.
/// Errors: throws std::system_error.
inline int connectTo(std::uint16_t port, bool blocking) {
  static std::uint32_t turn = 0;
  const int type = SOCK_STREAM | SOCK_CLOEXEC | (blocking ? 0 : SOCK_NONBLOCK);
  const int fd = socket(AF_INET, type, 0);
  if (fd < 0) throwErrno("socket");
  const int on = 1;
  const sockaddr_in from = loopback(2 + turn++ % 200, 0);
  const sockaddr_in to = loopback(1, port);
  // The port is picked when connecting, when the kernel knows that only the pair must be unique.
  (void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
  const bool connected =
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0 &&
      bind(fd, reinterpret_cast<const sockaddr*>(&from), sizeof from) == 0 &&
      (connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0 || errno == EINPROGRESS);
  if (connected) return fd;
  const int error = errno;
  (void)close(fd);
  errno = error;
  throwErrno("connect");
}

/// Sends one message on a blocking socket and takes its echo.
/// Errors: throws std::runtime_error.
inline void echoOnce(int fd, const Pattern& pattern, std::size_t number, std::size_t size) {
  const timeval patience{10, 0};
  if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) != 0)
    throwErrno("SO_RCVTIMEO");
  std::vector<char> piece(std::min<std::size_t>(size, 1 << 16));
  for (std::size_t offset = 0; offset < size;) {
    const std::size_t part = std::min(piece.size(), size - offset);
    if (send(fd, pattern.at(number, offset), part, MSG_NOSIGNAL) != static_cast<ssize_t>(part))
      throwErrno("send");
    const ssize_t got = recv(fd, piece.data(), part, MSG_WAITALL);
    if (got != static_cast<ssize_t>(part))
      throw std::runtime_error("no echo on connection " + std::to_string(number));
    if (std::memcmp(piece.data(), pattern.at(number, offset), part) != 0)
      throw std::runtime_error("wrong bytes on connection " + std::to_string(number));
    offset += part;
  }
}

/// CPU time and memory of another process.
class ServerProbe {
 public:
  explicit ServerProbe(int pid) : pid_(pid) {
    if (pid_ != 0 && clock_getcpuclockid(pid_, &clock_) != 0)
      throw std::runtime_error("--server-pid: there is no process " + std::to_string(pid_));
  }

  /// Of all its threads, since it began. Units: microseconds.
  [[nodiscard]] double cpu() const {
    timespec used{};
    if (pid_ == 0 || clock_gettime(clock_, &used) != 0) return 0;
    return static_cast<double>(used.tv_sec) * 1e6 + static_cast<double>(used.tv_nsec) / 1e3;
  }
  [[nodiscard]] std::uint64_t resident() const { return pid_ == 0 ? 0 : residentBytes(pid_); }
  void askForAccounting() const {
    if (pid_ != 0) (void)kill(pid_, SIGUSR1);  // who is gone will be missed elsewhere
  }

 private:
  const int pid_;
  clockid_t clock_{};
};

}  // namespace bench
