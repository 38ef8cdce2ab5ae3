#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "rung/base/noncopyable.h"
#include "rung/net/Acceptor.h"
#include "rung/net/Callbacks.h"
#include "rung/net/EventLoopThreadPool.h"

namespace rung {

class EventLoop;

/// A TCP server: accepts on one loop, and spreads the connections over several, in turn.
/// Set the callbacks, start() it, and let the base loop run.
/// Thread: the base loop's, where nothing else is said. Callbacks run on the loop of the connection
/// that they are about.
/// Lifetime: may be destroyed on any thread, from any callback, and after its base loop. The
/// destructor ends all connections, each with its "down" callback if its loop is still there, and
/// the I/O threads; when it returns, no callback runs any more. From a callback on an I/O thread it
/// cannot wait for that: there, the callbacks on other threads may run a moment longer.
class TcpServer : noncopyable {
 public:
  using ThreadInitCallback = EventLoopThreadPool::ThreadInitCallback;

  /// How the connections ended that were there when stop() began.
  struct StopResult {
    std::size_t drained = 0;  // in time, with all their output sent
    std::size_t cut = 0;      // at the deadline
  };
  using StopCallback = std::function<void(StopResult)>;

  /// Binds at once, so that a taken port is known before anything runs.
  /// Errors: throws std::system_error with the call and the address.
  TcpServer(EventLoop* loop, const InetAddress& listenAddress, std::string name,
            Acceptor::Options options = {});
  ~TcpServer();

  /// How many loops serve connections, each on a thread of its own. With 0, the default, the base
  /// loop accepts and serves. Before start(), as all that follows.
  /// Errors: throws std::invalid_argument if negative.
  void setThreadNum(int numThreads);
  void setThreadInitCallback(ThreadInitCallback callback);
  void setConnectionCallback(ConnectionCallback callback);
  /// Without one, what arrives is thrown away.
  void setMessageCallback(MessageCallback callback);
  void setWriteCompleteCallback(WriteCompleteCallback callback);
  void setHighWaterMarkCallback(WaterMarkCallback callback);
  void setLowWaterMarkCallback(WaterMarkCallback callback);
  /// Without one, a connection whose peer half-closes ends when its output is sent.
  void setHalfCloseCallback(HalfCloseCallback callback);
  void setLimits(const ConnectionLimits& limits);
  /// Closes connections from which nothing has come for `timeout`, and into which nothing could be
  /// sent either, at the latest one `tick` after that. Off by default; 8 s if you do not say
  /// otherwise.
  /// Errors: throws std::invalid_argument unless both are more than zero.
  void setIdleTimeout(std::chrono::milliseconds timeout = std::chrono::seconds(8),
                      std::chrono::milliseconds tick = std::chrono::seconds(1));

  /// Starts the threads and listens. Twice does no harm.
  /// Errors: throws std::system_error.
  void start();

  /// Accepts no more, lets every connection send what it has and end, and after `deadline` cuts
  /// those that are left. Then calls `done`, on the base loop. A second call does not change the
  /// deadline; its `done` is called as well.
  /// Thread: any. The base loop must run.
  void stop(std::chrono::steady_clock::duration deadline, StopCallback done = {});

  [[nodiscard]] const std::string& name() const;
  /// With the port that the kernel picked, if it was asked to. Thread: any.
  [[nodiscard]] InetAddress listenAddress() const;
  /// Connections that are up, or about to be. Thread: any.
  [[nodiscard]] std::size_t connectionCount() const;

 private:
  class Core;

  ConnectionProfile& profileBeforeStart(const char* what);

  /// Shared with the tasks that other threads send to the base loop: they must find it in one
  /// piece, also when this object is gone.
  std::shared_ptr<Core> core_;
};

}  // namespace rung
