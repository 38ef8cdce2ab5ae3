#pragma once

#include <functional>
#include <string>

#include "rung/base/noncopyable.h"
#include "rung/net/Acceptor.h"
#include "rung/net/EventLoopThreadPool.h"

namespace rung {

class EventLoop;

/// Accepts on one loop and hands each connection to one of several loops, in turn.
/// This is the smallest server: what to do with a socket is left to the callback.
/// Thread: the base loop's.
/// Lifetime: the base loop outlives it. The destructor ends the I/O threads; see
/// EventLoopThreadPool.
class TcpServer : noncopyable {
 public:
  using ThreadInitCallback = EventLoopThreadPool::ThreadInitCallback;
  /// Runs on the thread of `loop`, which is to serve the socket.
  using NewSocketCallback =
      std::function<void(EventLoop* loop, Socket socket, const InetAddress& peer)>;

  /// Errors: throws as the constructor of Acceptor does; aborts without a loop.
  TcpServer(EventLoop* loop, Endpoint endpoint, std::string name, Acceptor::Options options = {});
  ~TcpServer();

  /// How many loops serve connections, each on a thread of its own. With 0, the default, the base
  /// loop accepts and serves. Before start().
  void setThreadNum(int numThreads) { threadPool_.setThreadNum(numThreads); }
  /// Before start().
  void setThreadInitCallback(ThreadInitCallback callback) { threadInit_ = std::move(callback); }
  /// Before start().
  void setNewSocketCallback(NewSocketCallback callback) {
    newSocketCallback_ = std::move(callback);
  }

  /// Starts the threads and listens. Twice does no harm.
  /// Errors: throws std::system_error.
  void start();

  [[nodiscard]] const std::string& name() const { return name_; }
  /// The address; its port is the one that the kernel picked, if port 0 was asked for.
  [[nodiscard]] InetAddress listenAddress() const { return acceptor_.localAddress(); }
  /// The same as Endpoint::parse() takes it.
  [[nodiscard]] const std::string& listenText() const { return acceptor_.addressText(); }
  /// Another descriptor of the listening socket, for a process that is to take over.
  /// Errors: throws std::system_error.
  [[nodiscard]] UniqueFd listenFd() const { return acceptor_.duplicateFd(); }

 private:
  void newConnection(Socket socket, const InetAddress& peer);

  const std::string name_;
  Acceptor acceptor_;
  EventLoopThreadPool threadPool_;
  ThreadInitCallback threadInit_;
  NewSocketCallback newSocketCallback_;
};

}  // namespace rung
