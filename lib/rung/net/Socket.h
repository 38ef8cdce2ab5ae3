#pragma once

#include <sys/types.h>

#include <cstddef>
#include <optional>
#include <string>

#include "rung/base/UniqueFd.h"
#include "rung/net/InetAddress.h"

namespace rung {

/// The process at the other end of a Unix-domain connection, as it was when it connected.
/// Source: SO_PEERCRED in unix(7).
struct PeerCredentials {
  pid_t pid = 0;  // 0 if this process cannot see that one
  uid_t uid = static_cast<uid_t>(-1);
  gid_t gid = static_cast<gid_t>(-1);
};

/// A stream socket, of TCP or of a Unix domain: owns the descriptor, and knows the system calls on
/// it. Always non-blocking and close-on-exec. Nothing here loops or waits; that is for the classes
/// above.
/// Thread: one at a time.
/// Source: socket(2), tcp(7), unix(7), socket(7); muduo net/Socket.h.
class Socket {
 public:
  /// What accept() gives: a socket with the address of its peer, or the reason why not.
  struct Accepted;

  Socket() = default;
  explicit Socket(UniqueFd fd) : fd_(std::move(fd)) {}

  /// Errors: throws std::system_error.
  [[nodiscard]] static Socket create(sa_family_t family);

  /// Errors: throw std::system_error that names the call and the address.
  void bind(const InetAddress& address);
  void listen(int backlog, const std::string& addressForErrors);
  /// Whether it listens, also if another process has called listen(2).
  [[nodiscard]] bool listens() const;

  /// Takes one connection from the queue.
  [[nodiscard]] Accepted accept();
  /// How many connections wait in the queue of a listening socket. Of a Unix-domain socket the
  /// kernel tells only whether any does: 0 or INT_MAX.
  /// Errors: 0 where the kernel does not say.
  [[nodiscard]] int waiting() const;

  /// Sends what is queued and then a FIN; the peer reads to the end of file. Reading goes on.
  /// Errors: none if the peer is gone already.
  void shutdownWrite();

  /// Each sets one option.
  /// Errors: returns false, with errno. A Unix-domain socket has no option of TCP.
  bool setOption(int level, int option, int value);
  bool setReuseAddress(bool on);
  bool setReusePort(bool on);
  /// An IPv6 socket bound to "::" takes no IPv4 connections. Before bind().
  bool setIpv6Only(bool on);
  /// Send small segments at once instead of waiting for the acknowledgement of the one before.
  bool setTcpNoDelay(bool on);
  /// Let the kernel probe a silent peer. Its default first probe is after two hours.
  bool setKeepAlive(bool on);
  /// close() sends a reset instead of a FIN, and throws away what the kernel has yet to send.
  bool setResetOnClose();

  /// Errors: the invalid address 0.0.0.0:0 if the socket is closed or not connected.
  [[nodiscard]] InetAddress localAddress() const;
  [[nodiscard]] InetAddress peerAddress() const;
  /// Errors: AF_UNSPEC if the socket is closed.
  [[nodiscard]] sa_family_t family() const;
  /// The peer of a Unix-domain socket that is connected; nullopt for any other.
  [[nodiscard]] std::optional<PeerCredentials> peerCredentials() const;

  /// SO_ERROR: the pending error of this socket, which the call clears; 0 if there is none.
  [[nodiscard]] int takeError();

  [[nodiscard]] int fd() const { return fd_.get(); }
  /// Another descriptor of the same socket, close-on-exec.
  /// Errors: throws std::system_error.
  [[nodiscard]] UniqueFd duplicate() const;
  [[nodiscard]] bool valid() const { return fd_.valid(); }
  void close() { fd_.reset(); }

 private:
  [[nodiscard]] int ask(int option) const;

  UniqueFd fd_;
};

struct Socket::Accepted {
  Socket socket{};     // invalid if there is an error
  InetAddress peer{};  // where it comes from
  int error = 0;       // errno of accept4(2)
};

}  // namespace rung
