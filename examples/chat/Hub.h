#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "rung/base/Mutex.h"
#include "rung/base/noncopyable.h"
#include "rung/net/Callbacks.h"
#include "rung/net/EventLoop.h"

namespace chat {

/// The members who are served by one loop. Only that loop's thread looks at them, so a message
/// takes no lock on its way, and a member who joins costs no copy of a list.
class Room : rung::noncopyable {
 public:
  explicit Room(rung::EventLoop* loop) : loop_(loop) {}

  /// Thread: any.
  [[nodiscard]] rung::EventLoop* loop() const { return loop_; }

  void add(const rung::TcpConnectionPtr& member);
  void remove(const rung::TcpConnectionPtr& member);

  /// Sends `frames` to every member at the end of the loop's round, together with all else that
  /// comes until then: with many messages a round, that is one system call a member, not one a
  /// message.
  void deliver(std::string_view frames);
  /// The same from another thread.
  void post(const std::shared_ptr<const std::string>& frames);
  /// Bytes that other threads have posted and this one has not looked at yet. Thread: any.
  [[nodiscard]] std::size_t waitingBytes() const { return waitingBytes_.load(); }

 private:
  void flush();

  rung::EventLoop* const loop_;
  std::vector<rung::TcpConnectionPtr> members_;
  std::string batch_;
  std::atomic<std::size_t> waitingBytes_{0};
};

/// Knows who is here, and takes what one says to everybody: to the members of the same loop at
/// once, to those of each other loop with one task.
/// Thread: that of the member's loop, where nothing else is said.
/// Lifetime: outlives the loops of the server.
class Hub : rung::noncopyable {
 public:
  /// From here on a loop that lags behind holds back those who talk.
  static constexpr std::size_t kMaxWaitingBytes = 4 << 20;

  /// Before the first connection; one call at a time.
  void addLoop(rung::EventLoop* loop);

  /// Takes the name, tells everybody, and greets the newcomer with the list of who is here.
  /// Returns false, and does nothing, if somebody has that name.
  [[nodiscard]] bool join(const rung::TcpConnectionPtr& member, const std::string& name);
  void leave(const rung::TcpConnectionPtr& member, const std::string& name);

  /// `frames` is encoded once for all. Messages of one member reach everyone in their order; those
  /// of two members may reach different loops in different order.
  void say(const rung::TcpConnectionPtr& member, std::string frames);

 private:
  [[nodiscard]] Room& roomOf(const rung::TcpConnectionPtr& member) const;
  void toEverybody(Room& here, std::string frames);

  std::vector<std::unique_ptr<Room>> rooms_;  // does not change once connections come
  rung::Mutex mutex_;                         // for those who come and go, not for messages
  std::set<std::string> names_ RUNG_GUARDED_BY(mutex_);
};

}  // namespace chat
