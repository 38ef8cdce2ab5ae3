#include "rung/net/ListeningSocket.h"

#include <fcntl.h>

#include <cerrno>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#include "rung/base/Logging.h"
#include "rung/net/SocketFile.h"

namespace rung {

namespace {

[[noreturn]] void throwErrno(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

Socket boundSocket(const InetAddress& address, const ListenOptions& options) {
  Socket socket = Socket::create(address.family());
  // Without it, a restarted server could not bind for a minute: connections that its predecessor
  // closed are in TIME_WAIT on the same port.
  if (!socket.setReuseAddress(true)) LOG_SYSERR << "setsockopt SO_REUSEADDR";
  options.applyTo(socket, address.toIpPort());
  if (options.reusePort && !socket.setReusePort(true)) throwErrno("setsockopt SO_REUSEPORT");
  if (options.ipv6Only && address.isIpv6() && !socket.setIpv6Only(true)) {
    throwErrno("setsockopt IPV6_V6ONLY");
  }
  if (options.prepareListening) options.prepareListening(socket.fd());
  socket.bind(address);
  return socket;
}

Socket boundSocket(const UnixAddress& address, const ListenOptions& options, SocketFile& file) {
  Socket socket = Socket::create(AF_UNIX);
  options.applyTo(socket, address.toText());
  if (options.prepareListening) options.prepareListening(socket.fd());
  file.bind(socket, address, options.socketMode);
  return socket;
}

Socket adoptedSocket(UniqueFd given, const ListenOptions& options) {
  const std::string name = "descriptor " + std::to_string(given.get());
  if (!given.valid()) throw std::invalid_argument(name + " cannot listen");
  Socket socket(std::move(given));
  const auto ask = [&](const char* call, int option) {
    int value = 0;
    socklen_t length = sizeof value;
    if (::getsockopt(socket.fd(), SOL_SOCKET, option, &value, &length) == 0) return value;
    throwErrno(std::string("getsockopt ") + call + " of " + name);
  };
  if (ask("SO_TYPE", SO_TYPE) != SOCK_STREAM) {
    throw std::invalid_argument(name + " is not a stream socket");
  }
  const int family = ask("SO_DOMAIN", SO_DOMAIN);
  if (family != AF_INET && family != AF_INET6 && family != AF_UNIX) {
    throw std::invalid_argument(name + " has an address that is neither IP nor Unix, of family " +
                                std::to_string(family));
  }
  if (!socket.listens()) throw std::invalid_argument(name + " does not listen");
  const int flags = ::fcntl(socket.fd(), F_GETFL);
  if (flags < 0 || ::fcntl(socket.fd(), F_SETFL, flags | O_NONBLOCK) != 0 ||
      ::fcntl(socket.fd(), F_SETFD, FD_CLOEXEC) != 0) {
    throwErrno("fcntl of " + name);
  }
  options.applyTo(socket, name);
  if (options.prepareListening) options.prepareListening(socket.fd());
  return socket;
}

}  // namespace

Socket listeningSocket(Endpoint& endpoint, const ListenOptions& options, SocketFile& file) {
  options.validate(endpoint.toText());
  Endpoint::Where& where = endpoint.where();
  if (auto* fd = std::get_if<UniqueFd>(&where)) return adoptedSocket(std::move(*fd), options);
  if (const auto* address = std::get_if<UnixAddress>(&where)) {
    return boundSocket(*address, options, file);
  }
  return boundSocket(std::get<InetAddress>(where), options);
}

std::string addressText(const Socket& socket) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  // sockaddr_storage exists to be passed as sockaddr*.
  if (::getsockname(socket.fd(), reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    throwErrno("getsockname");
  }
  if (address.ss_family == AF_UNIX) return UnixAddress(address, length).toText();
  return InetAddress(address).toIpPort();
}

}  // namespace rung
