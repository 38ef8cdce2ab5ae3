#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string>

#include "rung/net/ConnectFailure.h"
#include "rung/net/Resolver.h"

// What a Resolver calls on its threads. How it gets there is in Resolver.cc.

namespace rung {

Resolver::Answer Resolver::lookUp(const std::string& host, std::uint16_t port) {
  // Not AI_ADDRCONFIG, which leaves out loopback addresses of a family that only loopback has. An
  // address that cannot be reached fails at once, and costs the connector nothing.
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int failed = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &list);
  if (failed == EAI_SYSTEM) return {.error = errnoCode(errno)};
  if (failed == EAI_MEMORY) return {.error = errnoCode(ENOMEM)};
  if (failed != 0) return {.error = {failed, resolverCategory()}};
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(list, ::freeaddrinfo);
  Answer answer;
  for (const addrinfo* each = list; each != nullptr; each = each->ai_next) {
    if (each->ai_family != AF_INET && each->ai_family != AF_INET6) continue;
    sockaddr_storage storage{};
    std::memcpy(&storage, each->ai_addr, std::min<std::size_t>(each->ai_addrlen, sizeof storage));
    const InetAddress address(storage);
    auto& found = answer.addresses;
    if (std::find(found.begin(), found.end(), address) == found.end()) found.push_back(address);
  }
  return answer;
}

}  // namespace rung
