#include "rung/net/ListenOptions.h"

#include <netinet/tcp.h>

#include <cerrno>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <system_error>

#include "rung/base/Logging.h"
#include "rung/net/Socket.h"

namespace rung {

namespace {

constexpr std::int64_t kMaxInt = std::numeric_limits<int>::max();
constexpr std::int64_t kMaxKeepAliveSeconds = 32767;  // MAX_TCP_KEEPIDLE, and _KEEPINTVL
constexpr std::int64_t kMaxKeepAliveCount = 127;      // MAX_TCP_KEEPCNT
constexpr std::int64_t kMaxMode = 0777;

}  // namespace

void ListenOptions::validate(const std::string& where) const {
  const auto within = [&](const char* name, std::int64_t value, std::int64_t least,
                          std::int64_t most) {
    if (value >= least && value <= most) return;
    throw std::invalid_argument("Acceptor on " + where + ": " + name + " is " +
                                std::to_string(value) + ", and not from " + std::to_string(least) +
                                " to " + std::to_string(most));
  };
  within("backlog", backlog, 0, kMaxInt);
  within("acceptsPerEvent", acceptsPerEvent, 1, kMaxInt);
  if (keepAlive) {
    within("keepAlive.idle", keepAlive->idle.count(), 1, kMaxKeepAliveSeconds);
    within("keepAlive.interval", keepAlive->interval.count(), 1, kMaxKeepAliveSeconds);
    within("keepAlive.count", keepAlive->count, 1, kMaxKeepAliveCount);
  }
  within("userTimeout", userTimeout.count(), 0, kMaxInt);
  within("sendBufferBytes", sendBufferBytes, 0, kMaxInt);
  within("receiveBufferBytes", receiveBufferBytes, 0, kMaxInt);
  if (socketMode) within("socketMode", static_cast<std::int64_t>(*socketMode), 0, kMaxMode);
}

void ListenOptions::applyTo(Socket& listening, const std::string& where) const {
  const auto set = [&](const char* name, int level, int option, int value) {
    if (listening.setOption(level, option, value)) return;
    throw std::system_error(errno, std::generic_category(),
                            std::string("setsockopt ") + name + " for " + where);
  };
  if (sendBufferBytes > 0) set("SO_SNDBUF", SOL_SOCKET, SO_SNDBUF, sendBufferBytes);
  if (receiveBufferBytes > 0) set("SO_RCVBUF", SOL_SOCKET, SO_RCVBUF, receiveBufferBytes);
  if (listening.family() == AF_UNIX) return;
  if (tcpNoDelay && !listening.setTcpNoDelay(true)) LOG_SYSERR << "setsockopt TCP_NODELAY";
  if (keepAlive) {
    set("SO_KEEPALIVE", SOL_SOCKET, SO_KEEPALIVE, 1);
    set("TCP_KEEPIDLE", IPPROTO_TCP, TCP_KEEPIDLE, static_cast<int>(keepAlive->idle.count()));
    set("TCP_KEEPINTVL", IPPROTO_TCP, TCP_KEEPINTVL, static_cast<int>(keepAlive->interval.count()));
    set("TCP_KEEPCNT", IPPROTO_TCP, TCP_KEEPCNT, keepAlive->count);
  }
  if (userTimeout.count() > 0) {
    set("TCP_USER_TIMEOUT", IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(userTimeout.count()));
  }
}

}  // namespace rung
