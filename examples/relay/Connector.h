#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include "rung/base/noncopyable.h"
#include "rung/net/Channel.h"
#include "rung/net/InetAddress.h"
#include "rung/net/Socket.h"
#include "rung/net/TimerId.h"

namespace relay {

/// Connects to an address without blocking the loop. A connect(2) that is under way makes the
/// socket writable when it has ended, well or badly; SO_ERROR then tells which.
/// Thread: the loop's.
/// Lifetime: shared, and kept by its owner until `done` was called, or cancel(). `done` is called
/// once, never from start().
class Connector : rung::noncopyable, public std::enable_shared_from_this<Connector> {
 public:
  /// `error` is an errno, or 0 and `socket` is connected.
  using Done = std::function<void(rung::Socket socket, int error)>;

  Connector(rung::EventLoop* loop, Done done) : loop_(loop), done_(std::move(done)) {}
  ~Connector() { cancel(); }

  /// Gives up after `timeout` with ETIMEDOUT; the kernel alone would take minutes.
  void start(const rung::InetAddress& target, std::chrono::milliseconds timeout);
  void cancel();

 private:
  /// Returns 0 if the connection is under way, else an errno.
  int tryStart(const rung::InetAddress& target);
  void finish(int error);

  rung::EventLoop* const loop_;
  Done done_;
  rung::Socket socket_;
  std::unique_ptr<rung::Channel> channel_;
  rung::TimerId deadline_;
};

}  // namespace relay
