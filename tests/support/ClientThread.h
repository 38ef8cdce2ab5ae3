#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "rung/base/Mutex.h"
#include "rung/net/EventLoop.h"
#include "rung/net/EventLoopThread.h"
#include "rung/net/TcpClient.h"
#include "rung/net/TcpConnection.h"

#include "tests/support/ServerThread.h"

namespace rung::testing {

/// What one thread writes and another waits for, one by one, in its order.
template <class Item>
class Events {
 public:
  void put(Item item) {
    const MutexLock lock(mutex_);
    items_.push_back(std::move(item));
    changed_.notifyAll();
  }
  Item take() {
    const MutexLock lock(mutex_);
    while (items_.empty())
      changed_.wait(mutex_);
    Item item = std::move(items_.front());
    items_.pop_front();
    return item;
  }
  [[nodiscard]] int count() const {
    const MutexLock lock(mutex_);
    return static_cast<int>(items_.size());
  }

 private:
  mutable Mutex mutex_;
  Condition changed_;
  std::deque<Item> items_ RUNG_GUARDED_BY(mutex_);
};

/// A TcpClient whose loop runs on a thread of its own. It notes its connections and failures, for a
/// test that waits for one after the other.
class ClientThread {
 public:
  struct Failed {
    ConnectFailure failure;
    std::optional<std::chrono::nanoseconds> retryIn;
  };

  explicit ClientThread(const Target& target, TcpClient::Options options = {},
                        const std::function<void(TcpClient&)>& setUp = {})
      : loop_(thread_.startLoop()) {
    ServerThread::runOn(loop_, [&] {
      client_ = std::make_unique<TcpClient>(loop_, target, "client", std::move(options));
      client_->setConnectionCallback([this](const TcpConnectionPtr& connection) {
        if (connection->connected()) {
          ups_.put(connection);
        } else {
          downs_.put(connection->closeReason());
        }
      });
      client_->setFailureCallback([this](const ConnectFailure& failure, auto retryIn) {
        failures_.put({failure, retryIn});
      });
      if (setUp) setUp(*client_);
    });
  }
  ~ClientThread() {
    ServerThread::runOn(loop_, [&] { client_.reset(); });
  }

  [[nodiscard]] EventLoop* loop() const { return loop_; }
  TcpClient* operator->() { return client_.get(); }
  TcpConnectionPtr up() { return ups_.take(); }
  CloseReason down() { return downs_.take(); }
  Failed failure() { return failures_.take(); }
  /// Of those that nobody has taken yet.
  [[nodiscard]] int ups() const { return ups_.count(); }
  [[nodiscard]] int failures() const { return failures_.count(); }
  /// Lets the loop go round some times.
  void settle() {
    for (int i = 0; i < 3; ++i)
      ServerThread::runOn(loop_, [] {});
  }

 private:
  Events<TcpConnectionPtr> ups_;
  Events<CloseReason> downs_;
  Events<Failed> failures_;
  EventLoopThread thread_;
  EventLoop* const loop_;
  std::unique_ptr<TcpClient> client_;
};

}  // namespace rung::testing
