#include "rung/net/InetAddress.h"

#include <arpa/inet.h>
#include <net/if.h>

#include <array>
#include <charconv>
#include <cstring>
#include <stdexcept>

namespace rung {

namespace {

[[noreturn]] void refuse(std::string_view what, std::string_view text) {
  throw std::invalid_argument(std::string(what) + ": '" + std::string(text) + "'");
}

template <class Number>
bool parseNumber(std::string_view text, Number& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

in_port_t checkedPort(int port) {
  if (port < 0 || port > 65535) refuse("not a port number", std::to_string(port));
  return htons(static_cast<std::uint16_t>(port));
}

/// The part of an IPv6 address after '%': an interface by name or by number.
std::uint32_t parseScope(std::string_view scope, std::string_view whole) {
  std::uint32_t index = 0;
  if (parseNumber(scope, index)) return index;
  index = if_nametoindex(std::string(scope).c_str());
  if (index == 0) refuse("no such network interface in address", whole);
  return index;
}

}  // namespace

InetAddress::InetAddress(int port) : address_{} {
  address_.v4.sin_family = AF_INET;
  address_.v4.sin_addr.s_addr = htonl(INADDR_ANY);
  address_.v4.sin_port = checkedPort(port);
}

InetAddress::InetAddress(std::string_view ip, int port, std::string_view whole) : address_{} {
  const std::size_t percent = ip.find('%');
  const std::string host(ip.substr(0, percent));
  // inet_pton(3) and if_nametoindex(3) stop at a zero byte; what stands behind it would be ignored.
  if (ip.find('\0') != std::string_view::npos) refuse("not an IPv4 or IPv6 address", whole);
  in_addr v4{};
  in6_addr v6{};
  if (percent == std::string_view::npos && inet_pton(AF_INET, host.c_str(), &v4) == 1) {
    address_.v4.sin_family = AF_INET;
    address_.v4.sin_addr = v4;
    address_.v4.sin_port = checkedPort(port);
  } else if (inet_pton(AF_INET6, host.c_str(), &v6) == 1) {
    address_.v6.sin6_family = AF_INET6;
    address_.v6.sin6_addr = v6;
    address_.v6.sin6_port = checkedPort(port);
    if (percent != std::string_view::npos) {
      address_.v6.sin6_scope_id = parseScope(ip.substr(percent + 1), whole);
    }
  } else {
    refuse("not an IPv4 or IPv6 address", whole);
  }
}

InetAddress InetAddress::parse(std::string_view ipPort) {
  const std::size_t colon = ipPort.rfind(':');
  if (colon == std::string_view::npos) refuse("no port in address", ipPort);
  std::string_view ip = ipPort.substr(0, colon);
  if (ip.empty()) refuse("no address before the port", ipPort);
  std::uint16_t port = 0;
  if (!parseNumber(ipPort.substr(colon + 1), port)) refuse("not a port number in address", ipPort);
  const bool bracketed = ip.size() >= 2 && ip.front() == '[' && ip.back() == ']';
  if (bracketed) ip = ip.substr(1, ip.size() - 2);
  // "::1:80" could mean two things, so an IPv6 address must have brackets, and an IPv4 address
  // none.
  if (bracketed != (ip.find(':') != std::string_view::npos)) {
    refuse("not IPV4:PORT or [IPV6]:PORT", ipPort);
  }
  return InetAddress(ip, port, ipPort);
}

InetAddress InetAddress::loopback(int port, sa_family_t family) {
  return InetAddress(family == AF_INET6 ? "::1" : "127.0.0.1", port);
}

InetAddress::InetAddress(const sockaddr_storage& address) : address_{} {
  if (address.ss_family == AF_INET6) {
    std::memcpy(&address_.v6, &address, sizeof address_.v6);
  } else if (address.ss_family == AF_UNIX) {
    address_.any.sa_family = AF_UNIX;  // and no path, for which there is no room
  } else {
    std::memcpy(&address_.v4, &address, sizeof address_.v4);
  }
}

std::uint16_t InetAddress::port() const {
  if (isUnix()) return 0;
  return ntohs(isIpv6() ? address_.v6.sin6_port : address_.v4.sin_port);
}

InetAddress InetAddress::unmapped() const {
  constexpr std::array<unsigned char, 12> kMapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  const unsigned char* const bytes = address_.v6.sin6_addr.s6_addr;
  if (!isIpv6() || std::memcmp(bytes, kMapped.data(), kMapped.size()) != 0) return *this;
  InetAddress v4(port());
  std::memcpy(&v4.address_.v4.sin_addr, bytes + kMapped.size(), sizeof v4.address_.v4.sin_addr);
  return v4;
}

std::string InetAddress::toIp() const {
  if (isUnix()) return "unix";
  char text[INET6_ADDRSTRLEN] = "";
  if (!isIpv6()) {
    (void)inet_ntop(AF_INET, &address_.v4.sin_addr, text, sizeof text);  // cannot fail: it fits
    return text;
  }
  (void)inet_ntop(AF_INET6, &address_.v6.sin6_addr, text, sizeof text);
  std::string ip = text;
  if (const std::uint32_t scope = address_.v6.sin6_scope_id; scope != 0) {
    char name[IF_NAMESIZE] = "";
    ip += '%';
    ip += if_indextoname(scope, name) != nullptr ? name : std::to_string(scope);
  }
  return ip;
}

std::string InetAddress::toIpPort() const {
  if (isUnix()) return "unix:";
  std::string text = toIp();
  if (isIpv6()) text.insert(0, 1, '[').push_back(']');
  return text.append(1, ':').append(std::to_string(port()));
}

socklen_t InetAddress::length() const {
  if (isUnix()) return sizeof address_.any.sa_family;
  return isIpv6() ? sizeof address_.v6 : sizeof address_.v4;
}

bool operator==(const InetAddress& a, const InetAddress& b) {
  const InetAddress plainA = a.unmapped();
  const InetAddress plainB = b.unmapped();
  return plainA.length() == plainB.length() &&
         std::memcmp(&plainA.address_, &plainB.address_, plainA.length()) == 0;
}

}  // namespace rung
