#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "rung/net/InetAddress.h"
#include "rung/net/UnixAddress.h"

namespace rung {

/// Where a client connects to: an IP address, a Unix-domain address, or a host by name, which is
/// looked up each time. A value; the first two convert, so that a client has one constructor for
/// all.
/// Thread: any.
class Target {
 public:
  /// A host that a Resolver has to look up.
  struct Name {
    std::string host;
    std::uint16_t port = 0;
  };
  using Where = std::variant<InetAddress, UnixAddress, Name>;

  /// The longest name of a host that the DNS can hold, written out.
  static constexpr std::size_t kMaxHostBytes = 253;

  /// Errors: throws std::invalid_argument with the address if its port is 0, or if it is "unix:",
  /// which has no path.
  Target(const InetAddress& address);
  Target(const UnixAddress& address) : where_(address) {}

  /// "example.org", "127.0.0.1", "::1" or "fe80::1%eth0". An address in numbers is taken as it is,
  /// and never looked up.
  /// Errors: throws std::invalid_argument with the text if the host is empty, is longer than
  /// kMaxHostBytes or has a character that no name has: a space, a control character, '/', '[',
  /// ']', or a ':' without being an IPv6 address; and with the port unless it is 1 to 65535.
  Target(std::string_view host, int port) : Target(host, port, host) {}

  /// "example.org:80", "127.0.0.1:80", "[::1]:80", "unix:/run/x.sock" or "unix:@name".
  /// Errors: throws std::invalid_argument with the whole text and what is wrong in it.
  [[nodiscard]] static Target parse(std::string_view text);

  /// As parse() takes it.
  [[nodiscard]] std::string toText() const;

  [[nodiscard]] const Where& where() const { return where_; }

 private:
  /// `whole` is the text that `host` is a part of, for messages.
  Target(std::string_view host, int port, std::string_view whole);

  Where where_;
};

}  // namespace rung
