#include "rung/net/Socket.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <limits>
#include <string>
#include <system_error>

#include "rung/base/Logging.h"

namespace rung {

namespace {

[[noreturn]] void throwErrno(const char* call, const std::string& address) {
  throw std::system_error(errno, std::generic_category(), call + (" " + address));
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
  const int protocol = family == AF_UNIX ? 0 : IPPROTO_TCP;
  return Socket(
      checkedFd(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol), "socket"));
}

void Socket::bind(const InetAddress& address) {
  if (::bind(fd(), address.data(), address.length()) != 0) throwErrno("bind", address.toIpPort());
}

void Socket::listen(int backlog, const std::string& addressForErrors) {
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
  if (::getsockopt(fd(), IPPROTO_TCP, TCP_INFO, &info, &length) == 0) {
    return static_cast<int>(info.tcpi_unacked);
  }
  pollfd readable{fd(), POLLIN, 0};
  return ::poll(&readable, 1, 0) == 1 ? std::numeric_limits<int>::max() : 0;
}

void Socket::shutdownWrite() {
  if (::shutdown(fd(), SHUT_WR) != 0 && errno != ENOTCONN) LOG_SYSERR << "shutdown";
}

bool Socket::setReuseAddress(bool on) {
  return setOption(SOL_SOCKET, SO_REUSEADDR, on ? 1 : 0);
}
bool Socket::setReusePort(bool on) {
  return setOption(SOL_SOCKET, SO_REUSEPORT, on ? 1 : 0);
}
bool Socket::setIpv6Only(bool on) {
  return setOption(IPPROTO_IPV6, IPV6_V6ONLY, on ? 1 : 0);
}
bool Socket::setTcpNoDelay(bool on) {
  return setOption(IPPROTO_TCP, TCP_NODELAY, on ? 1 : 0);
}
bool Socket::setKeepAlive(bool on) {
  return setOption(SOL_SOCKET, SO_KEEPALIVE, on ? 1 : 0);
}
bool Socket::setResetOnClose() {
  const linger none{.l_onoff = 1, .l_linger = 0};
  return ::setsockopt(fd(), SOL_SOCKET, SO_LINGER, &none, sizeof none) == 0;
}

bool Socket::setOption(int level, int option, int value) {
  return ::setsockopt(fd(), level, option, &value, sizeof value) == 0;
}

InetAddress Socket::localAddress() const {
  return askAddress(fd(), ::getsockname);
}
InetAddress Socket::peerAddress() const {
  return askAddress(fd(), ::getpeername);
}

std::optional<PeerCredentials> Socket::peerCredentials() const {
  ucred peer{};
  socklen_t length = sizeof peer;
  // TCP answers as well, with nobody's numbers.
  if (family() != AF_UNIX || ::getsockopt(fd(), SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) {
    return std::nullopt;
  }
  return PeerCredentials{peer.pid, peer.uid, peer.gid};
}

sa_family_t Socket::family() const {
  return static_cast<sa_family_t>(ask(SO_DOMAIN));
}

bool Socket::listens() const {
  return ask(SO_ACCEPTCONN) != 0;
}

int Socket::ask(int option) const {
  int value = 0;
  socklen_t length = sizeof value;
  return ::getsockopt(fd(), SOL_SOCKET, option, &value, &length) == 0 ? value : 0;
}

UniqueFd Socket::duplicate() const {
  return checkedFd(::fcntl(fd(), F_DUPFD_CLOEXEC, 0), "fcntl F_DUPFD_CLOEXEC");
}

int Socket::takeError() {
  int error = 0;
  socklen_t length = sizeof error;
  if (::getsockopt(fd(), SOL_SOCKET, SO_ERROR, &error, &length) != 0) return errno;
  return error;
}

}  // namespace rung
