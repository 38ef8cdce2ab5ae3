#pragma once

#include <doctest/doctest.h>
#include <sys/socket.h>

#include <vector>

#include "rung/base/UniqueFd.h"
#include "rung/net/InetAddress.h"

namespace rung::testing {

/// Whether ::1 is there to be bound: many containers have no IPv6.
inline bool hasIpv6() {
  const InetAddress address = InetAddress::loopback(0, AF_INET6);
  const UniqueFd probe(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return bind(probe.get(), address.data(), address.length()) == 0;
}

/// AF_INET, and AF_INET6 where there is one.
inline std::vector<sa_family_t> ipFamilies() {
  if (hasIpv6()) return {AF_INET, AF_INET6};
  MESSAGE("skipped for IPv6: this machine has no ::1");
  return {AF_INET};
}

}  // namespace rung::testing
