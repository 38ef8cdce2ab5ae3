#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <future>
#include <memory>
#include <string>

#include "rung/base/CountDownLatch.h"
#include "rung/net/EventLoop.h"
#include "rung/net/TcpConnection.h"
#include "rung/net/TcpServer.h"

#include "tests/support/Client.h"
#include "tests/support/ServerThread.h"

namespace rung::testing {

/// A server with one client. It writes down how the connection comes and goes.
struct Observed {
  explicit Observed(const std::function<void(TcpServer&)>& setUp = {}, int threads = 0)
      : server(
            [&](TcpServer& s) {
              s.setConnectionCallback([this](const TcpConnectionPtr& c) {
                if (c->connected()) {
                  ++ups;
                  up.set_value(c);
                } else {
                  ++downs;
                  down.set_value(c->error());
                }
              });
              if (setUp) setUp(s);
            },
            threads),
        client(server.address(), 1 << 16) {}

  TcpConnectionPtr connection() { return up.get_future().get(); }
  /// Waits for the end; returns the connection's error.
  int ended() { return down.get_future().get(); }

  std::promise<TcpConnectionPtr> up;
  std::promise<int> down;
  std::atomic<int> ups{0};
  std::atomic<int> downs{0};
  ServerThread server;
  Client client;
};

/// Keeps a loop in a task until release(). What is posted to it meanwhile waits in its Mailbox, and
/// the sockets that become ready are looked at before that. Only what `behind` posts, which runs on
/// the loop before it is blocked, comes before the sockets.
class BlockedLoop {
 public:
  explicit BlockedLoop(EventLoop* loop, std::function<void()> behind = {}) {
    const auto begun = std::make_shared<CountDownLatch>(1);
    loop->queueInLoop([=, end = end_] {
      loop->queueInLoop([=] {
        begun->countDown();
        end->wait();
      });
      if (behind) behind();
    });
    begun->wait();
  }
  ~BlockedLoop() { end_->countDown(); }
  BlockedLoop(const BlockedLoop&) = delete;
  BlockedLoop& operator=(const BlockedLoop&) = delete;

  void release() { end_->countDown(); }

 private:
  const std::shared_ptr<CountDownLatch> end_ = std::make_shared<CountDownLatch>(1);
};

/// On the connection's loop: sends until the kernel takes no more. Returns how many bytes it took.
inline std::size_t fillKernel(const TcpConnectionPtr& connection) {
  constexpr std::size_t kPiece = 10'000;
  std::size_t sent = 0;
  for (; connection->outputBytes() == 0; sent += kPiece)
    connection->send(std::string(kPiece, 'x'));
  return sent - connection->outputBytes();
}

}  // namespace rung::testing
