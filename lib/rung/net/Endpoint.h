#pragma once

#include <string>
#include <string_view>
#include <variant>

#include "rung/base/UniqueFd.h"
#include "rung/net/InetAddress.h"
#include "rung/net/UnixAddress.h"

namespace rung {

/// Where a server listens: at an IP address, at a Unix-domain address, or on a socket that listens
/// already. Each of the three converts, so that a server has one constructor for all.
/// Thread: any, one at a time.
class Endpoint {
 public:
  using Where = std::variant<InetAddress, UnixAddress, UniqueFd>;

  Endpoint(const InetAddress& address) : where_(address) {}
  Endpoint(const UnixAddress& address) : where_(address) {}
  /// A stream socket on which somebody has called listen(2): systemd (see ListenFds.h), or another
  /// process that hands over its own (see TcpServer::listenFd()). It becomes non-blocking, for the
  /// other process too, and close-on-exec. Only this copy is ever closed, and shutdown(2) is never
  /// called, so that the other process goes on.
  Endpoint(UniqueFd listening) : where_(std::move(listening)) {}

  /// "127.0.0.1:80", "[::1]:80", "unix:/run/x.sock" or "unix:@name".
  /// Errors: throws std::invalid_argument with the whole text and what is wrong in it.
  [[nodiscard]] static Endpoint parse(std::string_view text);

  /// As parse() takes it, or "descriptor 3".
  [[nodiscard]] std::string toText() const;

  [[nodiscard]] const Where& where() const { return where_; }
  [[nodiscard]] Where& where() { return where_; }

 private:
  Where where_;
};

}  // namespace rung
