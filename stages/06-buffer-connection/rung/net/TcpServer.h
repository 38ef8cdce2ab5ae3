#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "rung/base/Deadline.h"
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
/// the I/O threads. These callbacks may still make the server's calls for any thread. On the base
/// loop's thread, and on one that runs no loop, no callback runs any more when it returns. On the
/// thread of another loop it does not wait, since that loop may be waited for itself: callbacks may
/// run a moment longer. If the base loop exists and does not run, the server ends when that loop
/// runs again or is destroyed; until then the I/O threads go on.
/// If the base loop waits for a thread, that thread must not destroy the server.
class TcpServer : noncopyable {
 public:
  using ThreadInitCallback = EventLoopThreadPool::ThreadInitCallback;

  /// How the connections ended that were there when stop() began. Bytes that other threads have
  /// sent and the loop has not come to are not counted as output.
  struct StopResult {
    std::size_t drained = 0;  // in time, with all their output sent
    std::size_t cut = 0;      // at the deadline, or before it with output unsent
  };
  using StopCallback = std::function<void(StopResult)>;

  /// Binds at once, so that a taken port is known before anything runs. The endpoint is an
  /// InetAddress, a UnixAddress, or a UniqueFd that listens already.
  /// Errors: throws as the constructor of Acceptor does; aborts without a loop.
  TcpServer(EventLoop* loop, Endpoint endpoint, std::string name, Acceptor::Options options = {});
  ~TcpServer();

  /// How many loops serve connections, each on a thread of its own. With 0, the default, the base
  /// loop accepts and serves. Before start(), as all that follows.
  /// Errors: throws std::invalid_argument if negative.
  void setThreadNum(int numThreads);
  void setThreadInitCallback(ThreadInitCallback callback);
  /// Called on each of these threads when its loop has ended, and before the loop goes: for what
  /// belongs to it. See EventLoopThreadPool.
  void setThreadExitCallback(ThreadInitCallback callback);
  void setConnectionCallback(ConnectionCallback callback);
  /// Without one, bytes that arrive are thrown away.
  void setMessageCallback(MessageCallback callback);
  void setWriteCompleteCallback(WriteCompleteCallback callback);

  /// Starts the threads and listens. Twice does no harm.
  /// Errors: throws std::system_error; so also if another server has bound the same port, and not
  /// yet listened on it, before this one was made. Throws what the thread init callback throws.
  /// Throws std::logic_error after stop() or stopAccepting().
  void start();

  /// Accepts what waits in the kernel's queue already, and then no more: the port is free for a
  /// successor. Connections live on. Another process that has the listening socket goes on.
  /// Thread: any.
  void stopAccepting();

  /// Accepts no more, sends what every connection has queued, and after
  /// `deadline` cuts those that are left; duration::max() waits for ever. Then calls `done`, on the
  /// base loop. A loop that is stuck in a callback is waited for a moment beyond the deadline, and
  /// its connections count as cut. A second call does not change the deadline; its `done` is called
  /// as well.
  /// Thread: any. The base loop must run.
  template <class Rep, class Period>
  void stop(std::chrono::duration<Rep, Period> deadline, StopCallback done = {}) {
    stopWithin(saturate<std::chrono::steady_clock::duration>(deadline), std::move(done));
  }

  [[nodiscard]] const std::string& name() const;
  /// The address; its port is the one that the kernel picked, if port 0 was asked for.
  /// Thread: any.
  [[nodiscard]] InetAddress listenAddress() const;
  /// The same as Endpoint::parse() takes it: with the path where listenAddress() is "unix:".
  /// Thread: any.
  [[nodiscard]] const std::string& listenText() const;
  /// Another descriptor of the listening socket, close-on-exec, for a process that is to take over:
  /// send it with SCM_RIGHTS, or let it be inherited. Invalid once accepting has stopped.
  /// Thread: any.
  /// Errors: throws std::system_error.
  [[nodiscard]] UniqueFd listenFd() const;
  /// Connections that are up, or about to be.
  /// Thread: any.
  [[nodiscard]] std::size_t connectionCount() const;

 private:
  class Core;

  void stopWithin(std::chrono::steady_clock::duration deadline, StopCallback done);
  void assertNotStarted(const char* what) const;
  ConnectionCallbacks& callbacksBeforeStart(const char* what);

  /// Shared with the tasks that other threads send to the base loop: they must find it in one
  /// piece, also when this object is gone.
  std::shared_ptr<Core> core_;
};

}  // namespace rung
