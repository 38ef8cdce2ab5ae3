#include "rung/net/Socket.h"

#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <string>
#include <system_error>

#include "rung/base/Logging.h"

namespace rung {

namespace {

[[noreturn]] void throwErrno(const char* call, const InetAddress& address) {
  throw std::system_error(errno, std::generic_category(),
                          std::string(call) + " " + address.toIpPort());
}

template <class Query>
InetAddress askAddress(int fd, Query query) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  // sockaddr_storage exists to be passed as sockaddr*.
  if (query(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) return InetAddress();
  return InetAddress(address);
}

}  // namespace

Socket Socket::create(sa_family_t family) {
  return Socket(checkedFd(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP),
                          "socket"));
}

void Socket::bind(const InetAddress& address) {
  if (::bind(fd(), address.data(), address.length()) != 0) throwErrno("bind", address);
}

void Socket::listen(int backlog, const InetAddress& addressForErrors) {
  if (::listen(fd(), backlog) != 0) throwErrno("listen on", addressForErrors);
}

Socket::Accepted Socket::accept() {
  sockaddr_storage peer{};
  socklen_t length = sizeof peer;
  const int accepted =
      ::accept4(fd(), reinterpret_cast<sockaddr*>(&peer), &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (accepted < 0) return {.error = errno};
  return {.socket = Socket(UniqueFd(accepted)), .peer = InetAddress(peer)};
}

int Socket::waiting() const {
  // For a listening socket, "unacknowledged" means not accepted: tcp_get_info() in the kernel.
  tcp_info info{};
  socklen_t length = offsetof(tcp_info, tcpi_sacked);
  if (::getsockopt(fd(), IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return 0;
  return static_cast<int>(info.tcpi_unacked);
}

void Socket::shutdownWrite() {
  if (::shutdown(fd(), SHUT_WR) != 0 && errno != ENOTCONN) LOG_SYSERR << "shutdown";
}

bool Socket::setReuseAddress(bool on) {
  return setOption(SOL_SOCKET, SO_REUSEADDR, on);
}
bool Socket::setReusePort(bool on) {
  return setOption(SOL_SOCKET, SO_REUSEPORT, on);
}
bool Socket::setIpv6Only(bool on) {
  return setOption(IPPROTO_IPV6, IPV6_V6ONLY, on);
}
bool Socket::setTcpNoDelay(bool on) {
  return setOption(IPPROTO_TCP, TCP_NODELAY, on);
}
bool Socket::setKeepAlive(bool on) {
  return setOption(SOL_SOCKET, SO_KEEPALIVE, on);
}
bool Socket::setResetOnClose() {
  const linger none{.l_onoff = 1, .l_linger = 0};
  return ::setsockopt(fd(), SOL_SOCKET, SO_LINGER, &none, sizeof none) == 0;
}

bool Socket::setOption(int level, int option, bool on) {
  const int value = on ? 1 : 0;
  return ::setsockopt(fd(), level, option, &value, sizeof value) == 0;
}

InetAddress Socket::localAddress() const {
  return askAddress(fd(), ::getsockname);
}
InetAddress Socket::peerAddress() const {
  return askAddress(fd(), ::getpeername);
}

int Socket::takeError() {
  int error = 0;
  socklen_t length = sizeof error;
  if (::getsockopt(fd(), SOL_SOCKET, SO_ERROR, &error, &length) != 0) return errno;
  return error;
}

}  // namespace rung
