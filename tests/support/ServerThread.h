#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "rung/base/CountDownLatch.h"
#include "rung/net/EventLoop.h"
#include "rung/net/EventLoopThread.h"
#include "rung/net/TcpConnection.h"
#include "rung/net/TcpServer.h"

namespace rung::testing {

/// A TcpServer on loopback whose base loop runs on a thread of its own, so that a test may use
/// blocking clients.
class ServerThread {
 public:
  explicit ServerThread(const std::function<void(TcpServer&)>& setUp, int threads = 0,
                        Endpoint endpoint = InetAddress::loopback(0))
      : loop_(thread_.startLoop()) {
    inLoop([&] {
      server_ = std::make_unique<TcpServer>(loop_, std::move(endpoint), "test");
      server_->setThreadNum(threads);
      setUp(*server_);
      server_->start();
      address_ = server_->listenAddress();
    });
  }
  ~ServerThread() { destroyServer(); }

  /// On the loop's thread, as a program would; does nothing if a test did it before.
  void destroyServer() {
    inLoop([&] { server_.reset(); });
  }

  /// Runs `work` on the base loop and waits for its end.
  void inLoop(const std::function<void()>& work) { runOn(loop_, work); }
  static void runOn(EventLoop* loop, const std::function<void()>& work) {
    CountDownLatch done(1);
    loop->runInLoop([&] {
      work();
      done.countDown();
    });
    done.wait();
  }

  [[nodiscard]] EventLoop* loop() const { return loop_; }
  [[nodiscard]] const InetAddress& address() const { return address_; }
  [[nodiscard]] TcpServer& server() { return *server_; }
  /// To be destroyed by a test where and when it likes.
  std::unique_ptr<TcpServer>& ownership() { return server_; }

 private:
  EventLoopThread thread_;
  EventLoop* const loop_;
  std::unique_ptr<TcpServer> server_;
  InetAddress address_;
};

/// The shortest useful message callback.
inline void echo(const TcpConnectionPtr& connection, Buffer& buffer, Timestamp) {
  connection->send(buffer);
}

/// Waits up to ten seconds for a condition that another thread brings about.
template <class Condition>
bool eventually(Condition condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

/// Test data in which a byte that is lost, doubled or out of place shows.
inline std::string pattern(std::size_t size) {
  std::string text(size, '\0');
  std::uint32_t state = 12345;
  for (char& byte : text) {
    state = state * 1664525 + 1013904223;
    byte = static_cast<char>(state >> 24);
  }
  return text;
}

}  // namespace rung::testing
