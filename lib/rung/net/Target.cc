#include "rung/net/Target.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <stdexcept>

namespace rung {

namespace {

[[noreturn]] void refuseTarget(const std::string& what, std::string_view text) {
  throw std::invalid_argument(what + ": '" + std::string(text) + "'");
}

bool isIpv4(const std::string& host) {
  in_addr address{};
  return ::inet_pton(AF_INET, host.c_str(), &address) == 1;
}

/// Bytes above 127 pass: the C library knows of international names.
bool isStrange(unsigned char c) {
  return c <= ' ' || c == 127 || c == '/' || c == '[' || c == ']';
}

Target::Where placeOf(std::string_view host, int port, std::string_view whole) {
  if (port < 1 || port > 65535) {
    refuseTarget("not a port to connect to, in '" + std::string(whole) + "'", std::to_string(port));
  }
  if (host.empty()) refuseTarget("no host to connect to", whole);
  if (std::any_of(host.begin(), host.end(), isStrange)) {
    refuseTarget("a character that is in no name of a host", whole);
  }
  const std::string text(host);
  if (isIpv4(text) || host.find(':') != std::string_view::npos) return InetAddress(host, port);
  const std::string_view bare = host.substr(0, host.size() - (host.ends_with('.') ? 1 : 0));
  if (bare.size() > Target::kMaxHostBytes) {
    refuseTarget(
        "the name of a host is longer than " + std::to_string(Target::kMaxHostBytes) + " bytes",
        whole);
  }
  return Target::Name{text, static_cast<std::uint16_t>(port)};
}

}  // namespace

Target::Target(const InetAddress& address) : where_(address) {
  if (address.isUnix()) refuseTarget("an address without a path", address.toIpPort());
  if (address.port() == 0) refuseTarget("port 0 is not one to connect to", address.toIpPort());
}

Target::Target(std::string_view host, int port, std::string_view whole)
    : where_(placeOf(host, port, whole)) {}

Target Target::parse(std::string_view text) {
  if (text.starts_with(kUnixPrefix)) return UnixAddress::parse(text);
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) refuseTarget("no port in the target", text);
  std::string_view host = text.substr(0, colon);
  const std::string_view digits = text.substr(colon + 1);
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (error != std::errc() || end != digits.data() + digits.size()) {
    refuseTarget("not a port number in the target", text);
  }
  const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  // As InetAddress::parse(): "::1:80" could mean two things.
  if (bracketed != (host.find(':') != std::string_view::npos)) {
    refuseTarget("not HOST:PORT or [IPV6]:PORT", text);
  }
  return Target(host, port, text);
}

std::string Target::toText() const {
  if (const auto* address = std::get_if<InetAddress>(&where_)) return address->toIpPort();
  if (const auto* address = std::get_if<UnixAddress>(&where_)) return address->toText();
  const auto& name = std::get<Name>(where_);
  return name.host + ":" + std::to_string(name.port);
}

}  // namespace rung
