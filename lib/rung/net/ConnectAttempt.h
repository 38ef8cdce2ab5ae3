#pragma once

#include <functional>
#include <memory>
#include <string>
#include <system_error>
#include <variant>

#include "rung/base/noncopyable.h"
#include "rung/net/Channel.h"
#include "rung/net/ConnectFailure.h"
#include "rung/net/InetAddress.h"
#include "rung/net/Socket.h"
#include "rung/net/TimerId.h"
#include "rung/net/UnixAddress.h"

namespace rung {

class EventLoop;

/// One connect(2) to one address: for Connector, which makes several.
/// Thread: loop.
/// Lifetime: a part of its owner, which is shared. Not destroyed in its own callback.
/// Source: connect(2).
class ConnectAttempt : noncopyable {
 public:
  using Address = std::variant<InetAddress, UnixAddress>;
  /// It has ended, well or not.
  using Ended = std::function<void(ConnectAttempt&)>;

  enum class State { fresh, underWay, connected, failed, loopGone };

  ConnectAttempt(EventLoop* loop, const Address& address, Ended ended)
      : loop_(loop), address_(address), ended_(std::move(ended)) {}
  ~ConnectAttempt() { close(); }

  /// Begins. `prepare` is called with the socket before that; `owner` is kept alive in callbacks.
  /// Errors: one that fails at once is `failed` when this returns, and `ended` is not called.
  void start(const std::function<void(int fd)>& prepare, const std::shared_ptr<void>& owner);
  /// Gives it up, without a callback.
  void close();

  [[nodiscard]] State state() const { return state_; }
  /// Of one that has failed.
  [[nodiscard]] ConnectStep step() const { return step_; }
  [[nodiscard]] std::error_code error() const { return error_; }
  /// Whether it failed because it was connected to itself. Nobody listened on the port; the kernel
  /// picked the same one for this end, and took its own SYN for that of a peer: a simultaneous open
  /// of one socket, RFC 9293, 3.5. It happens on loopback, to those who try again and again.
  [[nodiscard]] bool selfConnected() const { return selfConnected_; }

  [[nodiscard]] const Address& address() const { return address_; }
  [[nodiscard]] InetAddress peer() const;
  [[nodiscard]] std::string text() const;
  /// The socket of one that is connected.
  [[nodiscard]] Socket takeSocket() { return std::exchange(socket_, {}); }

 private:
  void connect(const std::shared_ptr<void>& owner);
  void tryLater(const std::shared_ptr<void>& owner);
  void fail(std::error_code error);
  void happened();

  EventLoop* const loop_;
  const Address address_;
  const Ended ended_;
  State state_ = State::fresh;
  ConnectStep step_ = ConnectStep::socket;
  bool selfConnected_ = false;
  std::error_code error_;
  Socket socket_;
  std::unique_ptr<Channel> channel_;  // stays to the end: it may be the caller
  TimerId again_;
};

}  // namespace rung
