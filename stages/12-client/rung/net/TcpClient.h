#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "rung/base/Deadline.h"
#include "rung/base/noncopyable.h"
#include "rung/net/Backoff.h"
#include "rung/net/Callbacks.h"
#include "rung/net/ConnectFailure.h"
#include "rung/net/Connector.h"
#include "rung/net/Target.h"

namespace rung {

class EventLoop;

/// A client: one connection to one target, which comes back by itself if you want that.
/// Set the callbacks, and connect(). What you get is a TcpConnection, as of a TcpServer.
/// Each connect() that begins has an answer: the connection callback, or the failure callback.
/// Thread: the loop's, where nothing else is said. All callbacks run on it.
/// Lifetime: may be destroyed at any moment, on any thread, from any callback, and after its loop.
/// The destructor ends the connection, with its "down" callback if the loop is still there, or the
/// attempt, without a callback. These callbacks may still make the client's calls for any thread.
/// On the loop's thread, and on one that runs no loop, no callback runs any more when it returns.
/// On the thread of another loop it does not wait, since that loop may be waited for itself:
/// callbacks may run a moment longer. If the loop exists and does not run, the client ends when
/// that loop runs again or is destroyed. If the loop waits for a thread, that thread must not
/// destroy the client.
/// Source: muduo net/TcpClient.h.
class TcpClient : noncopyable {
 public:
  struct Options {
    /// The deadline, and all else of one attempt.
    Connector::Options attempt{};
    /// If it is set, a new attempt follows each one that failed, and each connection that ended,
    /// whoever ended it, until disconnect() or stop(). See Backoff for how long it waits before.
    std::optional<Backoff::Options> reconnect{};
  };

  /// An attempt has failed. The next one begins after `retryIn`; without a value there is none, and
  /// this is the answer to connect(). ConnectStep::cancelled is for an attempt, or a wait for one,
  /// that disconnect() or stop() has ended.
  using FailureCallback = std::function<void(const ConnectFailure& failure,
                                             std::optional<std::chrono::nanoseconds> retryIn)>;
  /// `drained` is false if a connection was cut at the deadline, or ended with output unsent.
  using StopCallback = std::function<void(bool drained)>;

  /// `name` is for log lines and for TcpConnection::name().
  /// Errors: throws std::invalid_argument as Backoff does; aborts without a loop.
  TcpClient(EventLoop* loop, const Target& target, std::string name);
  TcpClient(EventLoop* loop, const Target& target, std::string name, Options options);
  ~TcpClient();

  /// The connection is up, or down: each happens once for each connection. Before the first
  /// connect(), as all that follow.
  void setConnectionCallback(ConnectionCallback callback) {
    callbacksBeforeConnect("setConnectionCallback").connection = std::move(callback);
  }
  void setFailureCallback(FailureCallback callback);
  /// Without one, bytes that arrive are thrown away.
  void setMessageCallback(MessageCallback callback) {
    callbacksBeforeConnect("setMessageCallback").message = std::move(callback);
  }
  void setWriteCompleteCallback(WriteCompleteCallback callback) {
    callbacksBeforeConnect("setWriteCompleteCallback").writeComplete = std::move(callback);
  }
  void setHighWaterMarkCallback(WaterMarkCallback callback) {
    callbacksBeforeConnect("setHighWaterMarkCallback").highWaterMark = std::move(callback);
  }
  void setLowWaterMarkCallback(WaterMarkCallback callback) {
    callbacksBeforeConnect("setLowWaterMarkCallback").lowWaterMark = std::move(callback);
  }
  /// Without one, the connection ends when its peer has half-closed, and all output is sent.
  void setHalfCloseCallback(HalfCloseCallback callback) {
    callbacksBeforeConnect("setHalfCloseCallback").halfClose = std::move(callback);
  }
  /// Called when stop() begins. Without one, the sending side is shut down once nothing waits to be
  /// sent and the connection is not held.
  void setDrainCallback(DrainCallback callback) {
    callbacksBeforeConnect("setDrainCallback").drain = std::move(callback);
  }
  void setLimits(const ConnectionLimits& limits) {
    callbacksBeforeConnect("setLimits").limits = limits;
  }

  /// Begins. Does nothing while there is a connection, or an attempt. While the client waits for
  /// the next attempt, that begins at once. After disconnect(), when the old connection is down.
  /// Thread: any. The calls of one thread for any thread take effect in their order, each in a task
  /// behind what the loop is doing.
  /// Errors: throws std::logic_error after stop(), and std::bad_alloc.
  void connect();

  /// Ends what there is: an attempt, or the wait for one, at once; a connection as with
  /// TcpConnection::close(): what was sent goes out, then the FIN, and if the peer has not closed
  /// after `linger`, the connection is cut. There is no reconnecting, until connect().
  /// Thread: any.
  /// Errors: throws std::bad_alloc, and does nothing.
  template <class Rep, class Period>
  void disconnect(std::chrono::duration<Rep, Period> linger) {
    disconnectWithin(saturate<std::chrono::steady_clock::duration>(linger));
  }
  void disconnect() { disconnect(std::chrono::seconds(5)); }

  /// As disconnect(), for good: the connection finishes what it owes (see setDrainCallback), and is
  /// cut after `deadline`; duration::max() waits for ever. Then calls `done`, on the loop. A second
  /// call does not change the deadline; its `done` is called as well.
  /// Thread: any.
  /// Lifetime: `done` is not called any more once the client is destroyed; it may destroy it.
  /// Errors: throws std::bad_alloc, and does nothing.
  template <class Rep, class Period>
  void stop(std::chrono::duration<Rep, Period> deadline, StopCallback done = {}) {
    stopWithin(saturate<std::chrono::steady_clock::duration>(deadline), std::move(done));
  }

  /// The connection that is up; nullptr if there is none: before, and after its "down" callback.
  /// Thread: any.
  [[nodiscard]] TcpConnectionPtr connection() const;

  /// Thread: any.
  [[nodiscard]] const std::string& name() const;
  [[nodiscard]] const Target& target() const;

 private:
  class Core;

  void disconnectWithin(std::chrono::steady_clock::duration linger);
  void stopWithin(std::chrono::steady_clock::duration deadline, StopCallback done);
  void assertNotStarted(const char* what) const;
  ConnectionCallbacks& callbacksBeforeConnect(const char* what);

  /// Shared with the tasks that other threads send to the loop: they must find it in one piece,
  /// also when this object is gone.
  std::shared_ptr<Core> core_;
};

}  // namespace rung
