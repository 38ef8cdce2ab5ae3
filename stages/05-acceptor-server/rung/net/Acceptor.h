#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "rung/base/UniqueFd.h"
#include "rung/base/noncopyable.h"
#include "rung/net/Channel.h"
#include "rung/net/Endpoint.h"
#include "rung/net/ListenOptions.h"
#include "rung/net/Socket.h"
#include "rung/net/SocketFile.h"
#include "rung/net/TimerFd.h"

namespace rung {

class EventLoop;

/// A listening socket on a loop: accepts connections and passes them on.
/// No error of accept(2) stops it. When the process is out of descriptors, it closes the waiting
/// connections one by one, with the help of a descriptor kept in reserve. So their peers learn of
/// it at once, and the loop does not spin. If that fails too, it pauses.
/// Thread: loop.
/// Lifetime: a member of its owner (TcpServer). Its callback may close it, but not destroy it; that
/// aborts, with the address.
/// Source: accept(2); muduo net/Acceptor.h; the reserve descriptor is Marc Lehmann's idea, from the
/// documentation of libev.
class Acceptor : noncopyable {
 public:
  using NewConnectionCallback = std::function<void(Socket socket, const InetAddress& peer)>;

  using Options = ListenOptions;

  /// How long accepting rests when the system is out of descriptors or memory.
  static constexpr std::chrono::milliseconds kPause{100};

  /// Binds, but does not listen yet, if the endpoint is an address. Connections that come to a
  /// socket which listens already wait for listen().
  /// Errors: throws std::system_error with the call and the address if another socket listens
  /// there, with the option if the kernel refuses one, or with the number of a descriptor that is
  /// no socket; std::invalid_argument if an option makes no sense, or for a descriptor that is not
  /// a stream socket that listens. Aborts without a loop.
  Acceptor(EventLoop* loop, Endpoint endpoint, Options options = {});
  ~Acceptor();

  /// Without one, connections are closed.
  /// Errors: std::bad_alloc from the callback costs this connection; another exception ends the
  /// process with a message that names the address.
  void setNewConnectionCallback(NewConnectionCallback callback) {
    newConnectionCallback_ = std::move(callback);
  }

  /// Asked before each accept: while it says no, connections wait in the kernel's queue, for kPause
  /// or until resume(). What still waits when accepting ends is reset.
  void setRoomCallback(std::function<bool()> callback) { roomCallback_ = std::move(callback); }
  /// Ends a pause before its time.
  void resume();

  /// Errors: throws std::system_error with the call and the address. A taken port is an error here,
  /// and not in the constructor, if the other socket was bound at that time but did not listen yet.
  /// A socket file is never taken in this way.
  void listen();
  [[nodiscard]] bool listening() const { return listening_; }
  /// Accepts the connections that wait in the queue, all of them and not only acceptsPerEvent, and
  /// then frees the port, for good. Their peers have been told by the kernel that they are
  /// connected, so that an orderly end serves them too.
  /// Lifetime: may be called from the callback, which then runs within this call.
  /// Errors: some may be closed without service, if descriptors or memory run out. A connection
  /// whose handshake is under way is reset. Not if another process has the socket too: it goes on.
  void stopAccepting();
  /// Frees the port or the socket file, for good. Connections that wait in the queue are reset,
  /// unless another process has the socket too. May be called from the callback.
  void close();

  /// The address; its port is the one that the kernel picked, if port 0 was asked for.
  [[nodiscard]] InetAddress localAddress() const { return localAddress_; }
  /// The address as Endpoint::parse() takes it: with the path where localAddress() is "unix:".
  [[nodiscard]] const std::string& addressText() const { return addressText_; }
  /// The listening socket, for options; -1 once it is closed.
  [[nodiscard]] int fd() const { return acceptSocket_.fd(); }
  /// Another descriptor of it, close-on-exec, to pass on.
  /// Errors: throws std::system_error, with EBADF once it is closed.
  [[nodiscard]] UniqueFd duplicateFd() const { return acceptSocket_.duplicate(); }
  /// How many connections were closed because there was no descriptor for them, or no memory in
  /// ListenOptions::prepareAccepted.
  [[nodiscard]] std::uint64_t refused() const { return refused_->load(); }
  /// The same, for any thread, and for later than the Acceptor lives.
  [[nodiscard]] std::shared_ptr<const std::atomic<std::size_t>> refusals() const {
    return refused_;
  }

 private:
  // Each returns whether to accept the next connection at once.
  bool acceptOne();
  bool handleError(int error);
  bool refuseOne();
  bool pause();

  void prepare(Socket& accepted) const;
  void handleRead();
  void openReserve();
  void warn(const char* what, int error);

  EventLoop* const loop_;
  const Options options_;
  SocketFile socketFile_;  // before the socket: it goes when that is closed
  Socket acceptSocket_;
  InetAddress localAddress_;
  std::string addressText_;
  Channel acceptChannel_;
  UniqueFd reserveFd_;  // the descriptor in reserve
  TimerFd retryTimer_;
  bool listening_ = false;
  bool draining_ = false;
  bool inCallback_ = false;
  const std::shared_ptr<std::atomic<std::size_t>> refused_ =
      std::make_shared<std::atomic<std::size_t>>(0);
  TimerFd::Clock::time_point nextWarning_{};
  NewConnectionCallback newConnectionCallback_;
  std::function<bool()> roomCallback_;
};

}  // namespace rung
