#include "rung/net/Endpoint.h"

namespace rung {

Endpoint Endpoint::parse(std::string_view text) {
  if (text.starts_with(kUnixPrefix)) return UnixAddress::parse(text);
  return InetAddress::parse(text);
}

std::string Endpoint::toText() const {
  if (const auto* address = std::get_if<InetAddress>(&where_)) return address->toIpPort();
  if (const auto* address = std::get_if<UnixAddress>(&where_)) return address->toText();
  return "descriptor " + std::to_string(std::get<UniqueFd>(where_).get());
}

}  // namespace rung
