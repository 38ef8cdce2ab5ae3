#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <system_error>

#include "rung/base/UniqueFd.h"
#include "rung/net/EventLoop.h"
#include "rung/net/InetAddress.h"
#include "rung/net/Socket.h"
#include "rung/net/UnixAddress.h"

#include "tests/support/Slow.h"

namespace rung::testing {

/// A listening socket, on the socket calls alone. The kernel makes connections for it; a test that
/// wants one accepts it, which waits for ten seconds at most.
class Listener {
 public:
  explicit Listener(int backlog = 128, sa_family_t family = AF_INET)
      : Listener(InetAddress::loopback(0, family), backlog) {}
  template <class Address>
  explicit Listener(const Address& address, int backlog)
      : fd_(checkedFd(socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0), "socket")) {
    const int on = 1;
    setsockopt(fd_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    const timeval limit{10, 0};
    setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (bind(fd_.get(), address.data(), address.length()) != 0 || listen(fd_.get(), backlog) != 0) {
      throw std::system_error(errno, std::generic_category(), "bind or listen");
    }
  }

  [[nodiscard]] InetAddress address() const {
    return Socket(UniqueFd(dup(fd_.get()))).localAddress();
  }
  /// Invalid if nobody has come.
  [[nodiscard]] UniqueFd accept() {
    return UniqueFd(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  }
  void close() { fd_.reset(); }

 private:
  UniqueFd fd_;
};

/// A listening socket whose queue is full: it answers no SYN, as a host that is not there.
class DeafListener {
 public:
  explicit DeafListener(sa_family_t family = AF_INET)
      : listener_(0, family), address_(listener_.address()) {
    fill_ = checkedFd(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    (void)connect(fill_.get(), address_.data(), address_.length());
  }

  [[nodiscard]] const InetAddress& address() const { return address_; }
  /// From here on it answers: within a second, when the kernel sends the SYN once more.
  void hear() {
    listening_ = listener_.accept();
    fill_.reset();
  }

 private:
  Listener listener_;
  const InetAddress address_;
  UniqueFd fill_;
  UniqueFd listening_;
};

/// An address of this machine on which nobody listens: port 1, which no other test gets for its
/// own.
inline InetAddress nobody(sa_family_t family = AF_INET) {
  return InetAddress::loopback(1, family);
}

/// An address on which nobody listens, for a test that will. Another process may be faster.
inline InetAddress freeAddress() {
  return Listener(1).address();
}

/// Runs `loop` until a callback quits it; false, and an end, if none does for twenty seconds.
inline bool runToQuit(EventLoop& loop) {
  bool inTime = true;
  const TimerId limit = loop.runAfter(std::chrono::seconds(20) * slowness(), [&] {
    inTime = false;
    loop.quit();
  });
  loop.loop();
  loop.cancel(limit);
  return inTime;
}

}  // namespace rung::testing
