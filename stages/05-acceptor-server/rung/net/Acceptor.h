#pragma once

#include <sys/socket.h>

#include <chrono>
#include <cstdint>
#include <functional>

#include "rung/base/UniqueFd.h"
#include "rung/base/noncopyable.h"
#include "rung/net/Channel.h"
#include "rung/net/Socket.h"
#include "rung/net/TimerFd.h"

namespace rung {

class EventLoop;

/// A listening socket on a loop: accepts connections and passes them on.
/// No error of accept(2) stops it. When the process is out of descriptors, it closes the waiting
/// connections one by one, with the help of a descriptor kept in reserve. So their peers learn of
/// it at once, and the loop does not spin. If that fails too, it pauses.
/// Thread: loop.
/// Lifetime: a member of its owner (TcpServer). Its callback may close it, but not destroy it; that
/// aborts.
/// Source: accept(2); muduo net/Acceptor.h; the reserve descriptor is Marc Lehmann's idea, from the
/// documentation of libev.
class Acceptor : noncopyable {
 public:
  using NewConnectionCallback = std::function<void(Socket socket, const InetAddress& peer)>;

  struct Options {
    /// Several sockets may listen on one port; the kernel spreads the connections over them.
    bool reusePort = false;
    /// A socket on "::" takes IPv6 connections only, so that another one may listen on 0.0.0.0 and
    /// the same port. Without it, "::" takes IPv4 connections too (unless the system's bindv6only
    /// says otherwise). No effect on an IPv4 address.
    bool ipv6Only = false;
    /// TCP_NODELAY for all accepted sockets: they inherit it, which costs no system call each.
    bool tcpNoDelay = true;
    /// How many connections may wait to be accepted.
    int backlog = SOMAXCONN;
    /// How many are accepted before the other Channels of the loop get their turn again.
    int acceptsPerEvent = 64;
  };

  /// How long accepting rests when the system is out of descriptors or memory.
  static constexpr std::chrono::milliseconds kPause{100};

  /// Binds, but does not listen yet.
  /// Errors: throws std::system_error with the call and the address if another socket listens on
  /// the port; std::invalid_argument if acceptsPerEvent is below 1. Aborts without a loop.
  Acceptor(EventLoop* loop, const InetAddress& listenAddress, Options options);
  Acceptor(EventLoop* loop, const InetAddress& listenAddress)
      : Acceptor(loop, listenAddress, Options{}) {}
  ~Acceptor();

  void setNewConnectionCallback(NewConnectionCallback callback) {
    newConnectionCallback_ = std::move(callback);
  }

  /// Errors: throws std::system_error with the call and the address. A taken port is an error here,
  /// and not in the constructor, if the other socket was bound at that time but did not listen yet.
  void listen();
  [[nodiscard]] bool listening() const { return listening_; }
  /// Accepts the connections that wait in the queue, all of them and not only acceptsPerEvent, and
  /// then frees the port, for good. Their peers have been told by the kernel that they are
  /// connected, so that an orderly end serves them too.
  /// Lifetime: may be called from the callback, which then runs within this call.
  /// Errors: some may be closed without service, if descriptors or memory run out. A connection
  /// whose handshake is under way is reset.
  void stopAccepting();
  /// Frees the port, for good. Connections that wait in the queue are reset. May be called from the
  /// callback.
  void close();

  /// The address; its port is the one that the kernel picked, if port 0 was asked for.
  [[nodiscard]] InetAddress localAddress() const { return localAddress_; }
  /// How many connections were closed because there was no descriptor for them.
  [[nodiscard]] std::uint64_t refused() const { return refused_; }

 private:
  // Each returns whether to accept the next connection at once.
  bool acceptOne();
  bool handleError(int error);
  bool refuseOne();
  bool pause();

  void handleRead();
  void resume();
  void openReserve();
  void warn(const char* what, int error);

  EventLoop* const loop_;
  const Options options_;
  Socket acceptSocket_;
  InetAddress localAddress_;
  Channel acceptChannel_;
  UniqueFd reserveFd_;  // the descriptor in reserve
  TimerFd retryTimer_;
  bool listening_ = false;
  bool draining_ = false;
  bool inCallback_ = false;
  std::uint64_t refused_ = 0;
  TimerFd::Clock::time_point nextWarning_{};
  NewConnectionCallback newConnectionCallback_;
};

}  // namespace rung
