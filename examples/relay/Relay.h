#pragma once

#include <chrono>
#include <cstddef>

#include "rung/base/noncopyable.h"
#include "rung/net/Callbacks.h"
#include "rung/net/EventLoop.h"
#include "rung/net/InetAddress.h"
#include "rung/net/TcpServer.h"

namespace relay {

struct Settings {
  rung::InetAddress target;
  std::size_t highWaterBytes = 1 << 18;  // waiting for one side: the other is read no more
  std::chrono::seconds connectTimeout{5};
  std::chrono::seconds idleTimeout{0};  // 0: never
};

/// Passes the bytes of each connection on to a connection of its own to the target, and back.
/// Both are served by one loop, so that one can hold back the other without a lock.
/// Lifetime: goes before the base loop.
class Relay : rung::noncopyable {
 public:
  Relay(rung::EventLoop* loop, const rung::InetAddress& listenAddress, int threads,
        const Settings& settings);

  [[nodiscard]] rung::TcpServer& server() { return server_; }

 private:
  void onConnection(const rung::TcpConnectionPtr& connection);
  void startOnward(const rung::TcpConnectionPtr& incoming);
  void onMessage(const rung::TcpConnectionPtr& from, rung::Buffer& bytes) const;

  const Settings settings_;
  const rung::ConnectionLimits limits_;
  rung::TcpServer server_;  // goes first, and with it the loops of its threads
};

}  // namespace relay
