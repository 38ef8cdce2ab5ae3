#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "rung/base/noncopyable.h"  // for its check of the standard

namespace rung {

/// How far an attempt to connect came.
enum class ConnectStep : std::uint8_t {
  resolve,    ///< the host has no address, or the lookup failed
  socket,     ///< no socket: EMFILE, EAFNOSUPPORT; or ConnectOptions::prepare refused it
  connect,    ///< connect(2) failed: ECONNREFUSED, ENETUNREACH, EADDRNOTAVAIL, others
  watch,      ///< the kernel would not watch the socket: ENOSPC, ENOMEM
  deadline,   ///< the time was over: ETIMEDOUT
  cancelled,  ///< this side wanted it no more: ECANCELED
};

/// "resolve", "connect": for log lines.
/// Thread: any.
[[nodiscard]] std::string_view nameOf(ConnectStep step);

/// Why there is no connection: a value, which a program may look at, keep, or log.
/// Thread: any, one at a time.
struct ConnectFailure {
  /// One address that was tried.
  struct Tried {
    std::string address;  // "127.0.0.1:80", "[::1]:80" or "unix:/run/x.sock"
    ConnectStep step = ConnectStep::connect;
    std::error_code error;  // EINPROGRESS if it was under way when the time was over
  };

  /// Where it ended. If all addresses failed, step and error are those of the first one, which is
  /// the best destination by RFC 6724.
  ConnectStep step = ConnectStep::connect;
  /// An errno, in std::generic_category(); or of the lookup, in resolverCategory().
  std::error_code error;
  /// Where to, as Target::toText() says.
  std::string target;
  /// In the order in which they were tried.
  std::vector<Tried> tried;

  /// "connect to example.org:80: [2001:db8::1]:80: Network is unreachable; 192.0.2.1:80: Connection
  /// refused". One line.
  [[nodiscard]] std::string toText() const;
};

/// The errors of getaddrinfo(3), EAI_NONAME and others.
/// Thread: any.
/// Lifetime: for ever; also while static objects are destroyed.
[[nodiscard]] const std::error_category& resolverCategory();

/// An errno as an error code.
/// Thread: any.
[[nodiscard]] inline std::error_code errnoCode(int error) {
  return {error, std::generic_category()};
}

}  // namespace rung
