#pragma once

#include <sys/socket.h>

#include <cerrno>
#include <string>
#include <string_view>

#include "rung/base/UniqueFd.h"
#include "rung/net/InetAddress.h"  // for who includes this

namespace rung::testing {

/// A plain blocking client, of TCP or of a Unix domain, on the socket calls alone, so that no test
/// proves the library with the library. Nothing blocks for longer than ten seconds: then the
/// operation fails.
class Client {
 public:
  /// With `receiveBytes` the kernel keeps about that much for a client that does not read, instead
  /// of the many megabytes that it may grow to by itself.
  template <class Address>
  explicit Client(const Address& server, int receiveBytes = 0)
      : fd_(socket(server.family(), SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    if (receiveBytes > 0) {
      setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUF, &receiveBytes, sizeof receiveBytes);
    }
    const timeval limit{10, 0};
    setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd_.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    connected_ = connect(fd_.get(), server.data(), server.length()) == 0;
  }

  [[nodiscard]] bool connected() const { return connected_; }
  [[nodiscard]] int fd() const { return fd_.get(); }

  bool send(std::string_view text) {
    while (!text.empty()) {
      const ssize_t n = ::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      text.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }

  /// Exactly `size` bytes, or fewer if the stream ends before.
  std::string receive(std::size_t size) {
    std::string text(size, '\0');
    std::size_t got = 0;
    while (got < size) {
      const ssize_t n = recv(fd_.get(), text.data() + got, size - got, 0);
      if (n <= 0) break;
      got += static_cast<std::size_t>(n);
    }
    text.resize(got);
    return text;
  }

  /// All that comes until the end of the stream. lastError() tells how it ended.
  std::string receiveAll() {
    std::string all;
    for (std::string piece(1 << 16, '\0');;) {
      const ssize_t n = recv(fd_.get(), piece.data(), piece.size(), 0);
      if (n <= 0) {
        lastError_ = n < 0 ? errno : 0;
        return all;
      }
      all.append(piece, 0, static_cast<std::size_t>(n));
    }
  }
  /// errno of the last receiveAll(); 0 after a clean end of file.
  [[nodiscard]] int lastError() const { return lastError_; }

  void shutdownWrite() { shutdown(fd_.get(), SHUT_WR); }
  void close() { fd_.reset(); }
  /// Closes with a RST instead of a FIN.
  void reset() {
    const linger now{1, 0};
    setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
    fd_.reset();
  }

 private:
  UniqueFd fd_;
  bool connected_ = false;
  int lastError_ = 0;
};

}  // namespace rung::testing
