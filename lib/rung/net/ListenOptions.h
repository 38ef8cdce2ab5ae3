#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "rung/base/noncopyable.h"  // for its check of the standard

namespace rung {

class Socket;

/// How the kernel finds out that a silent peer is gone, and ends its connection with ETIMEDOUT:
/// probes that a peer which is there answers.
/// Units: TCP_KEEPIDLE and TCP_KEEPINTVL take 1 to 32767 s, TCP_KEEPCNT 1 to 127 probes.
/// Source: tcp(7).
struct KeepAlive {
  std::chrono::seconds idle{60};      // silence before the first probe
  std::chrono::seconds interval{10};  // from one probe to the next
  int count = 6;                      // unanswered probes after which the peer is gone
};

/// The options of a listening socket, and of all sockets that are accepted from it: these inherit
/// the options of TCP, which costs no system call each. A Unix-domain socket has none of TCP. A
/// socket that somebody else has made to listen keeps its address, `reusePort`, `ipv6Only` and
/// `backlog`; what is set of the others holds for all processes that have it.
struct ListenOptions {
  /// Several sockets may listen on one port; the kernel spreads the connections over them.
  bool reusePort = false;
  /// A socket on "::" takes IPv6 connections only, so that another one may listen on 0.0.0.0 and
  /// the same port. Without it, "::" takes IPv4 connections too (unless the system's bindv6only
  /// says otherwise). No effect on an IPv4 address.
  bool ipv6Only = false;
  /// TCP_NODELAY: small segments do not wait for the acknowledgement of the one before.
  bool tcpNoDelay = true;
  /// How many connections may wait to be accepted.
  int backlog = SOMAXCONN;
  /// How many are accepted before the other Channels of the loop get their turn again.
  int acceptsPerEvent = 64;
  /// Without it, a peer that vanishes while nothing is sent to it is never noticed.
  std::optional<KeepAlive> keepAlive{};
  /// TCP_USER_TIMEOUT: how long sent bytes may wait for an acknowledgement before the connection
  /// ends with ETIMEDOUT; 0 for the system's default, which is about a quarter of an hour.
  std::chrono::milliseconds userTimeout{0};
  /// SO_SNDBUF and SO_RCVBUF: fixed sizes of the kernel's buffers of a connection, which otherwise
  /// grow as needed; 0 leaves them so. The kernel doubles the number, and silently takes no more
  /// than net.core.wmem_max and rmem_max.
  int sendBufferBytes = 0;
  int receiveBufferBytes = 0;
  /// The permissions of a socket file, as 0660, in place of those that the umask leaves. The file
  /// never has more. To give it more than the umask leaves takes /proc.
  std::optional<mode_t> socketMode{};
  /// For options that have no name here. Called once with the listening socket, before bind(2) if
  /// it has no address yet: SO_BINDTODEVICE, IP_TRANSPARENT, TCP_FASTOPEN.
  /// Errors: the constructor of the Acceptor throws what it throws.
  std::function<void(int fd)> prepareListening{};
  /// Called with each accepted socket, on the loop that accepts, before anything else sees it.
  /// Errors: std::bad_alloc costs this connection; another exception ends the process.
  std::function<void(int fd)> prepareAccepted{};

  /// Whether all values make sense, for an Acceptor on `where`.
  /// Errors: throws std::invalid_argument that names the option, its value and its bounds.
  void validate(const std::string& where) const;
  /// Sets what accepted sockets inherit.
  /// Errors: throws std::system_error that names the option.
  void applyTo(Socket& listening, const std::string& where) const;
};

}  // namespace rung
