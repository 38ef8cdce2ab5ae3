#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>

#include "rung/base/noncopyable.h"
#include "rung/net/ConnectFailure.h"
#include "rung/net/InetAddress.h"
#include "rung/net/Socket.h"
#include "rung/net/Target.h"

namespace rung {

class EventLoop;
class Resolver;

/// Makes one connection, without blocking the loop: looks up the host, and tries its addresses
/// until one answers ("happy eyeballs"). There is one deadline over all of that.
/// The addresses are tried in their order, families alternating; the next one each time that one
/// fails, and when there is no answer for a while. The first connection wins; the other sockets are
/// closed.
/// For a connection that should be kept, and come back by itself, take TcpClient.
/// Thread: loop.
/// Lifetime: the destructor cancels; it may run in the callback. Also on any thread, once the loop
/// is gone. On the wrong thread, before that, it aborts.
/// Source: RFC 8305; connect(2); muduo net/Connector.h.
class Connector : noncopyable {
 public:
  struct Options {
    /// For the lookup and all addresses together.
    std::chrono::milliseconds timeout{10'000};
    /// How long an address is waited for before the next one is tried beside it. 0: none is waited
    /// for.
    std::chrono::milliseconds stagger{250};
    /// Resolver::ofProcess() if it is empty. Only a Target with a name needs one.
    std::shared_ptr<Resolver> resolver{};
    /// Called with each socket before connect(2): to bind it, or to set options that must be set
    /// before. Do not close it.
    /// Errors: may throw std::system_error: that address has failed then, at ConnectStep::socket.
    std::function<void(int fd)> prepare{};
  };

  struct Result {
    /// Connected, non-blocking, close-on-exec; invalid if there is a failure.
    Socket socket{};
    /// Its address; "unix:" for a Unix domain.
    InetAddress peer{};
    std::optional<ConnectFailure> failure{};
  };
  using Done = std::function<void(Result)>;

  /// Errors: aborts without a loop.
  explicit Connector(EventLoop* loop);
  Connector(EventLoop* loop, Options options);
  ~Connector();

  /// Begins, and calls `done`, once, never from within this call. Cancels one that is under way.
  /// Lifetime: in `done`, the Connector may be used again, or be destroyed. If the loop is
  /// destroyed first, `done` is not called.
  /// Errors: all are in Result::failure, also that there is no memory (ENOMEM), no descriptor
  /// (EMFILE), or no thread for the lookup. Throws std::bad_alloc if it cannot even begin. An
  /// exception from `done` ends the process. Aborts if `done` is empty.
  void connect(const Target& target, Done done);
  /// Gives up: all sockets are closed, and `done` is not called any more.
  void cancel();
  /// Whether `done` is still to be called.
  [[nodiscard]] bool connecting() const;

 private:
  class Race;

  EventLoop* const loop_;
  const std::shared_ptr<const Options> options_;
  std::shared_ptr<Race> race_;
};

}  // namespace rung
