#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "rung/base/noncopyable.h"  // for its check of the standard

namespace rung {

/// Why a connection ended, or is about to. If there are several causes, the first one stands.
enum class CloseReason : std::uint8_t {
  none,           ///< nothing has happened that would end it
  peer,           ///< the peer closed; the kernel had taken all that was sent
  local,          ///< shutdown(), close() or stop(), then the peer closed; the kernel had taken all
  reset,          ///< the peer, or the network, broke it off: ECONNRESET, EPIPE
  readFailed,     ///< another error of a read: ETIMEDOUT, EHOSTUNREACH, others
  writeFailed,    ///< another error of a write: ENOBUFS, others
  inputLimit,     ///< ConnectionLimits::maxInput: EMSGSIZE
  outOfMemory,    ///< no memory for what it read or sent, or in a callback: ENOMEM
  refused,        ///< the kernel would not watch its socket: ENOSPC, ENOMEM
  idle,           ///< TcpServer::setIdleTimeout()
  forced,         ///< forceClose()
  lingerExpired,  ///< close(linger), and the peer took longer than that
  stopped,        ///< TcpServer::stop() reached its deadline, or the server was destroyed
  loopGone,       ///< its EventLoop was destroyed first
};

/// How many there are.
inline constexpr std::size_t kCloseReasons = static_cast<std::size_t>(CloseReason::loopGone) + 1;

/// "peer", "inputLimit": for log lines.
/// Thread: any.
[[nodiscard]] constexpr std::string_view nameOf(CloseReason reason) {
  constexpr std::string_view kNames[] = {
      "none",        "peer",    "local", "reset",  "readFailed",    "writeFailed", "inputLimit",
      "outOfMemory", "refused", "idle",  "forced", "lingerExpired", "stopped",     "loopGone"};
  return kNames[static_cast<std::size_t>(reason)];
}

}  // namespace rung
