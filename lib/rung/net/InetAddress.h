#pragma once

#include <netinet/in.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "rung/base/noncopyable.h"  // for its check of the standard

namespace rung {

/// An IPv4 or IPv6 address with a port. A value: copy it freely.
/// Addresses are numbers written out, never host names: looking up a name can block for seconds,
/// and does not belong on a loop's thread.
/// Thread: any.
/// Source: ip(7), ipv6(7), inet_pton(3).
class InetAddress {
 public:
  /// 0.0.0.0 with `port`: what a server binds to accept on every interface.
  /// Errors: throws std::invalid_argument with the port unless it is 0 to 65535. It is an int, so
  /// that 70000 is refused and not taken for 4464.
  explicit InetAddress(int port = 0);

  /// `ip` as "127.0.0.1", "::1" or, for link-local addresses, "fe80::1%eth0".
  /// Errors: throws std::invalid_argument with the text if it is none of these, or with the port. A
  /// server that took a mistyped address for 0.0.0.0 would be open to the world.
  InetAddress(std::string_view ip, int port) : InetAddress(ip, port, ip) {}

  /// "127.0.0.1:80" or "[::1]:80": what toIpPort() writes.
  /// Errors: throws std::invalid_argument with the whole text and what is wrong in it.
  [[nodiscard]] static InetAddress parse(std::string_view ipPort);

  /// 127.0.0.1 or ::1.
  /// Errors: throws std::invalid_argument with the port.
  [[nodiscard]] static InetAddress loopback(int port, sa_family_t family = AF_INET);

  /// From an address that accept(2), getsockname(2) or getpeername(2) has written. One of a Unix
  /// domain becomes the address "unix:", with port 0, whatever its path: see UnixAddress.
  explicit InetAddress(const sockaddr_storage& address);

  [[nodiscard]] sa_family_t family() const { return address_.v4.sin_family; }
  [[nodiscard]] bool isIpv6() const { return family() == AF_INET6; }
  [[nodiscard]] bool isUnix() const { return family() == AF_UNIX; }
  [[nodiscard]] std::uint16_t port() const;
  /// Returns 1.2.3.4 with the same port for "::ffff:1.2.3.4", and any other address unchanged. A
  /// server that listens on "::" sees its IPv4 peers as such IPv4-mapped addresses.
  [[nodiscard]] InetAddress unmapped() const;
  /// "127.0.0.1", "::1" or "fe80::1%eth0"; "unix" for a Unix domain.
  [[nodiscard]] std::string toIp() const;
  /// "127.0.0.1:80" or "[::1]:80"; "unix:" for a Unix domain.
  [[nodiscard]] std::string toIpPort() const;

  /// For system calls: bytes [0, length()) are in network order.
  [[nodiscard]] const sockaddr* data() const { return &address_.any; }
  [[nodiscard]] socklen_t length() const;

  /// Equal when address, port and scope are. An IPv4-mapped address equals the IPv4 address, since
  /// both name the same peer.
  friend bool operator==(const InetAddress& a, const InetAddress& b);

 private:
  /// `whole` is the text that `ip` is a part of, for messages.
  InetAddress(std::string_view ip, int port, std::string_view whole);

  // Both begin with the family. 28 bytes, where sockaddr_storage takes 128.
  union {
    sockaddr any;
    sockaddr_in v4;
    sockaddr_in6 v6;
  } address_;
};

}  // namespace rung
