#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <ratio>
#include <string>
#include <utility>

#include "rung/base/Deadline.h"
#include "rung/base/noncopyable.h"
#include "rung/net/Acceptor.h"
#include "rung/net/Callbacks.h"
#include "rung/net/EventLoopThreadPool.h"
#include "rung/net/ServerStats.h"

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

  /// How the connections ended that were there when stop() began. Output is unsent also while a
  /// send() on another thread is being refused.
  struct StopResult {
    std::size_t drained = 0;  // in time, with all their output sent
    std::size_t cut = 0;      // at the deadline, or before it with output unsent
  };
  using StopCallback = std::function<void(StopResult)>;

  /// What becomes of connections beyond setMaxConnections().
  enum class Beyond {
    /// They are reset at once. Their peers learn that nobody serves them, and may go elsewhere; a
    /// FIN would look like an orderly end, and leave a TIME_WAIT here. A Unix-domain socket has no
    /// reset: there it is an end of the stream. They are counted in stats(), and are a line in the
    /// log every 10 seconds at most.
    refuse,
    /// They stay in the kernel's queue until one of the others ends: for short connections, and
    /// peers that are patient. Those that are there when accepting ends are reset.
    wait,
  };

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
  void setHighWaterMarkCallback(WaterMarkCallback callback) {
    callbacksBeforeStart("setHighWaterMarkCallback").highWaterMark = std::move(callback);
  }
  void setLowWaterMarkCallback(WaterMarkCallback callback) {
    callbacksBeforeStart("setLowWaterMarkCallback").lowWaterMark = std::move(callback);
  }
  /// Without one, a connection whose peer half-closes ends when its output is sent, a callback has
  /// left nothing that it could not answer yet, and it is not held: see TcpConnection::hold().
  void setHalfCloseCallback(HalfCloseCallback callback) {
    callbacksBeforeStart("setHalfCloseCallback").halfClose = std::move(callback);
  }
  /// Called for each connection, on its loop, when stop() begins. Without one, the sending side is
  /// shut down once nothing waits to be sent and the connection is not held.
  void setDrainCallback(DrainCallback callback) {
    callbacksBeforeStart("setDrainCallback").drain = std::move(callback);
  }
  void setLimits(const ConnectionLimits& limits) {
    callbacksBeforeStart("setLimits").limits = limits;
  }
  /// Serves at most `most` connections at a time, on all loops together; 0, the default, is no
  /// limit. See Beyond for those that come while there are as many. A lower limit ends none.
  /// Thread: any, also after start().
  void setMaxConnections(std::size_t most, Beyond beyond = Beyond::refuse);
  /// Closes connections on which no byte has moved for `timeout`, at the latest one `tick` after
  /// that: nothing came, the kernel took nothing, the peer acknowledged nothing. While output waits
  /// that the peer does not read, it takes `timeout` once more. A connection that is held is not
  /// idle. Off by default; 8 s if you do not say otherwise.
  /// Errors: throws std::invalid_argument as TimingWheel::bucketsFor() does.
  template <class Rep = std::int64_t, class Period = std::ratio<1>, class TickRep = std::int64_t,
            class TickPeriod = std::ratio<1>>
  void setIdleTimeout(std::chrono::duration<Rep, Period> timeout = std::chrono::seconds(8),
                      std::chrono::duration<TickRep, TickPeriod> tick = std::chrono::seconds(1)) {
    setIdle(saturate<std::chrono::milliseconds>(timeout),
            saturate<std::chrono::milliseconds>(tick));
  }

  /// Starts the threads and listens. Twice does no harm.
  /// Errors: throws std::system_error; so also if another server has bound the same port, and not
  /// yet listened on it, before this one was made. Throws what the thread init callback throws.
  /// Throws std::logic_error after stop() or stopAccepting().
  void start();

  /// Accepts what waits in the kernel's queue already, and then no more: the port is free for a
  /// successor. Connections live on. Another process that has the listening socket goes on.
  /// Thread: any.
  void stopAccepting();

  /// Accepts no more, lets every connection finish what it owes (see setDrainCallback), and after
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
  /// What the server has done so far: see ServerStats. A sum over its loops, so ask some times a
  /// second rather than with each message.
  /// Thread: any.
  [[nodiscard]] ServerStats stats() const;

  /// Runs `callback` for every connection that is up, on its own loop, and then `done`, on the base
  /// loop: to say good-bye to all, to broadcast, to look at each. A loop does nothing else until it
  /// is through with its connections. A loop that has ended is left out. The callback may end
  /// connections, this one and others, and may destroy the server: then neither of the two is
  /// called any more, as is said above of all callbacks.
  /// Thread: any; never runs them inline. The base loop must run.
  /// Lifetime: several loops call `callback` at the same time. Both are destroyed afterwards.
  /// Errors: throws std::bad_alloc, and does nothing. An exception from `callback` is one from a
  /// callback of its connection; one from `done` ends the process. Aborts without `callback`.
  void forEachConnection(ConnectionCallback callback, std::function<void()> done = {});

 private:
  class Core;

  void stopWithin(std::chrono::steady_clock::duration deadline, StopCallback done);
  void setIdle(std::chrono::milliseconds timeout, std::chrono::milliseconds tick);
  void assertNotStarted(const char* what) const;
  ConnectionCallbacks& callbacksBeforeStart(const char* what);

  /// Shared with the tasks that other threads send to the base loop: they must find it in one
  /// piece, also when this object is gone.
  std::shared_ptr<Core> core_;
};

}  // namespace rung
