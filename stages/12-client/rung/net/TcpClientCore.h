#pragma once

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <string>

#include "rung/base/Mutex.h"
#include "rung/base/Task.h"
#include "rung/base/noncopyable.h"
#include "rung/net/TcpClient.h"
#include "rung/net/TimerId.h"

// For the files that TcpClient is made of; not for users.

namespace rung {

class Mailbox;

/// The client itself. All of it belongs to the loop's thread, where nothing else is said; other
/// threads reach it through the loop's Mailbox, and never own it.
class TcpClient::Core : noncopyable, public std::enable_shared_from_this<Core> {
 public:
  using Clock = std::chrono::steady_clock;

  Core(EventLoop* loop, const Target& where, const std::string& name, Options options);
  ~Core() { shutDown(); }

  /// Once it is shared.
  void own();
  void connect();
  void disconnect(Clock::duration linger);
  /// `done` holds one callback: a node that the caller made, since here memory may be short.
  void stop(Clock::duration deadline, std::list<StopCallback>& done);
  /// Ends everything now. Also on another thread, once the loop is gone.
  void shutDown();
  /// Thread: any.
  [[nodiscard]] TcpConnectionPtr connection() const RUNG_EXCLUDES(mutex_);

  const std::shared_ptr<Mailbox> mailbox;
  const Target target;
  std::atomic<bool> started{false};  // the callbacks do not change any more
  std::atomic<bool> stopCalled{false};
  /// Shared with the connections, which may live longer.
  const std::shared_ptr<ConnectionProfile> profile;
  FailureCallback failureCallback;

 private:
  /// The life of a client is one line of this: idle, trying, up (or waiting, and trying once more),
  /// leaving, idle.
  enum class Phase {
    idle,
    trying,   // the Connector is at work
    waiting,  // for the next attempt
    up,       // there is a connection
    leaving,  // there is one, and disconnect() has closed it
    stopping,
    stopped,
    shutDown,
  };

  template <class Work>
  Task weakly(Work work);
  void attempt();
  void attempted(Connector::Result result);
  void cameUp(Socket socket, const InetAddress& peer);
  void wentDown(const TcpConnectionPtr& connection);
  void failed(const ConnectFailure& failure);
  void failedHere(ConnectStep step, int error);
  [[nodiscard]] ConnectFailure failureOf(ConnectStep step, int error) const;
  [[nodiscard]] std::optional<Backoff::Duration> waitForNext();
  void tell(const ConnectFailure& failure, std::optional<Backoff::Duration> retryIn);
  [[nodiscard]] bool giveUpTrying();
  void drain(Clock::duration deadline);
  void stopped();
  TcpConnectionPtr exchangeConnection(TcpConnectionPtr connection) RUNG_EXCLUDES(mutex_);

  EventLoop* const loop_;
  Connector connector_;
  std::optional<Backoff> backoff_;
  Phase phase_ = Phase::idle;
  bool again_ = false;         // connect() was called while leaving
  bool establishing_ = false;  // a connection that ends now was never up
  TimerId retryTimer_;
  TimerId stopTimer_;
  std::uint64_t nextId_ = 1;
  Clock::time_point upSince_;
  bool drained_ = true;
  std::list<StopCallback> stopCallbacks_;

  mutable Mutex mutex_;
  TcpConnectionPtr connection_ RUNG_GUARDED_BY(mutex_);  // changed by the loop's thread alone
};

}  // namespace rung
