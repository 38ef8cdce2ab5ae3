#pragma once

#include <sys/socket.h>

#include <chrono>
#include <cstdint>
#include <functional>

#include "rung/base/noncopyable.h"
#include "rung/net/Channel.h"
#include "rung/net/Socket.h"
#include "rung/net/TimerFd.h"

namespace rung {

class EventLoop;

/// A listening socket on a loop: accepts connections and passes them on.
/// It goes on through everything that can fail in accept(2). Out of descriptors, it closes the
/// waiting connections one by one, with the help of a descriptor kept in reserve, so that their
/// peers learn of it at once and the loop does not spin; if even that fails, it pauses.
/// Thread: loop.
/// Lifetime: a member of its owner (TcpServer). The callback must not destroy it.
/// Source: accept(2); muduo net/Acceptor.h; the reserve descriptor is Marc Lehmann's idea, from the
/// documentation of libev.
class Acceptor : noncopyable {
 public:
  using NewConnectionCallback = std::function<void(Socket socket, const InetAddress& peer)>;

  struct Options {
    /// Several sockets may listen on one port; the kernel spreads the connections over them.
    bool reusePort = false;
    /// TCP_NODELAY for all accepted sockets: they inherit it, which costs no system call each.
    bool tcpNoDelay = true;
    /// How many connections may wait to be accepted.
    int backlog = SOMAXCONN;
  };

  /// How long accepting rests when the system is out of descriptors or memory.
  static constexpr std::chrono::milliseconds kPause{100};

  /// Binds, but does not listen yet.
  /// Errors: throws std::system_error with the call and the address.
  Acceptor(EventLoop* loop, const InetAddress& listenAddress, Options options);
  Acceptor(EventLoop* loop, const InetAddress& listenAddress)
      : Acceptor(loop, listenAddress, Options{}) {}
  ~Acceptor();

  void setNewConnectionCallback(NewConnectionCallback callback) {
    newConnectionCallback_ = std::move(callback);
  }

  /// Errors: throws std::system_error with the call and the address.
  void listen();
  [[nodiscard]] bool listening() const { return listening_; }
  /// Frees the port, for good. Connections that wait in the queue are reset. May be called from the
  /// callback.
  void close();

  /// With the port that the kernel picked, if it was asked to.
  [[nodiscard]] InetAddress localAddress() const { return localAddress_; }
  /// How many connections were closed unserved for want of a descriptor.
  [[nodiscard]] std::uint64_t refused() const { return refused_; }

 private:
  void handleRead();
  void handleError(int error);
  void refuseOne();
  void pause();
  void resume();
  void openReserve();
  void warn(const char* what, int error);

  EventLoop* const loop_;
  const Options options_;
  Socket acceptSocket_;
  InetAddress localAddress_;
  Channel acceptChannel_;
  UniqueFd idleFd_;  // the descriptor in reserve
  TimerFd retryTimer_;
  bool listening_ = false;
  std::uint64_t refused_ = 0;
  TimerFd::Clock::time_point nextWarning_{};
  NewConnectionCallback newConnectionCallback_;
};

}  // namespace rung
