#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

/// What the fact tests share: the bare system calls, with as little around them as can be. Nothing
/// here is rung's: a fact about the kernel must not hang on the library.
namespace facts {

using namespace std::chrono_literals;

/// `result` of a call that must succeed for the test to mean anything.
template <class Result>
Result must(Result result, const char* call) {
  if (result < 0) throw std::system_error(errno, std::generic_category(), call);
  return result;
}

/// A descriptor, closed at the end of its scope.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() { close(); }
  operator int() const { return fd_; }  // NOLINT(google-explicit-constructor): for system calls
  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

inline void setOption(int fd, int level, int option, int value) {
  must(setsockopt(fd, level, option, &value, sizeof value), "setsockopt");
}

inline int getOption(int fd, int level, int option) {
  int value = 0;
  socklen_t length = sizeof value;
  must(getsockopt(fd, level, option, &value, &length), "getsockopt");
  return value;
}

/// SO_LINGER: {1, 0} makes close() send a RST.
inline void setLinger(int fd, int seconds) {
  const linger value{1, seconds};
  must(setsockopt(fd, SOL_SOCKET, SO_LINGER, &value, sizeof value), "setsockopt SO_LINGER");
}

/// From now on the kernel throws away each packet that comes for this socket: none has a time to
/// live of 255, as this demands.
inline void cutCable(int fd) {
  setOption(fd, IPPROTO_IP, IP_MINTTL, 255);
}
inline void mendCable(int fd) {
  setOption(fd, IPPROTO_IP, IP_MINTTL, 0);
}

inline sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

inline int bindTo(int fd, std::uint16_t port) {
  const sockaddr_in address = loopback(port);
  return bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
}

inline int connectTo(int fd, std::uint16_t port) {
  const sockaddr_in address = loopback(port);
  return connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
}

inline std::uint16_t portOf(int fd) {
  sockaddr_in address{};
  socklen_t length = sizeof address;
  must(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length), "getsockname");
  return ntohs(address.sin_port);
}

/// A TCP socket; `flags` such as SOCK_NONBLOCK.
inline Fd tcpSocket(int flags = 0) {
  return Fd(must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0), "socket"));
}

inline Fd listener(int flags = 0, int backlog = SOMAXCONN) {
  Fd fd = tcpSocket(flags);
  must(bindTo(fd, 0), "bind");
  must(listen(fd, backlog), "listen");
  return fd;
}

inline Fd connected(std::uint16_t port) {
  Fd fd = tcpSocket();
  must(connectTo(fd, port), "connect");
  return fd;
}

/// The two ends of a TCP connection over loopback, both blocking.
struct TcpPair {
  TcpPair() : TcpPair(listener()) {}
  explicit TcpPair(const Fd& listening)
      : client(connected(portOf(listening))),
        server(must(accept4(listening, nullptr, nullptr, SOCK_CLOEXEC), "accept4")) {}
  Fd client;
  Fd server;
};

inline void setNonBlocking(int fd) {
  must(fcntl(fd, F_SETFL, must(fcntl(fd, F_GETFL), "fcntl") | O_NONBLOCK), "fcntl");
}

inline bool put(int fd, std::string_view text) {
  return send(fd, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
}

/// Sends without blocking until the kernel takes no more. Returns how much it took.
inline std::size_t fill(int fd) {
  const std::string block(16384, 'x');
  std::size_t total = 0;
  for (ssize_t n; (n = send(fd, block.data(), block.size(), MSG_DONTWAIT | MSG_NOSIGNAL)) > 0;) {
    total += static_cast<std::size_t>(n);
  }
  return total;
}

/// A result and the errno that came with it.
struct Outcome {
  ssize_t result;
  int error;
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

/// read(2), with errno set to 0 before it.
inline Outcome readSome(int fd, std::size_t atMost = 4096) {
  std::string block(atMost, '\0');
  errno = 0;
  const ssize_t n = read(fd, block.data(), block.size());
  return {n, errno};
}

/// An epoll instance that watches one descriptor at a time, or a few.
class Epoll {
 public:
  Epoll() : fd_(must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1")) {}
  Epoll(int fd, std::uint32_t events) : Epoll() { add(fd, events); }

  int control(int operation, int fd, std::uint32_t events) {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    return epoll_ctl(fd_, operation, fd, &event);
  }
  void add(int fd, std::uint32_t events) { must(control(EPOLL_CTL_ADD, fd, events), "epoll_ctl"); }
  void change(int fd, std::uint32_t events) {
    must(control(EPOLL_CTL_MOD, fd, events), "epoll_ctl");
  }

  /// The events of the first descriptor that is ready; 0 when none is after `wait`.
  std::uint32_t wait(std::chrono::milliseconds wait) {
    epoll_event event{};
    const int n = must(epoll_wait(fd_, &event, 1, static_cast<int>(wait.count())), "epoll_wait");
    return n == 0 ? 0 : event.events;
  }
  /// The same without waiting.
  std::uint32_t look() { return wait(0ms); }
  /// Waits until all of `wanted` are reported. Returns the events that came with them.
  std::uint32_t until(std::uint32_t wanted);

  [[nodiscard]] int fd() const { return fd_; }

 private:
  Fd fd_;
};

/// Asks again and again, for up to ten seconds, where the kernel has no event for it.
template <class Condition>
bool eventually(Condition condition) {
  const auto deadline = std::chrono::steady_clock::now() + 10s;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

inline std::uint32_t Epoll::until(std::uint32_t wanted) {
  std::uint32_t events = 0;
  if (!eventually([&] { return ((events = look()) & wanted) == wanted; })) {
    throw std::runtime_error("the events " + std::to_string(wanted) + " never came, only " +
                             std::to_string(events));
  }
  return events;
}

/// What is ready on `fd` now, after `wanted` has come.
inline std::uint32_t eventsOf(int fd, std::uint32_t interest, std::uint32_t wanted) {
  return Epoll(fd, interest).until(wanted);
}

}  // namespace facts
