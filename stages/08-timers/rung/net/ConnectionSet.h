#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "rung/base/Task.h"
#include "rung/base/noncopyable.h"
#include "rung/net/Callbacks.h"
#include "rung/net/TimingWheel.h"

namespace rung {

/// When a connection is idle for too long, and how exactly that is known.
struct IdleTimeout {
  std::chrono::milliseconds timeout{0};  // 0: never
  std::chrono::milliseconds tick{1000};
};

/// The connections of one server on one loop.
/// Each loop keeps its own, so that a connection lives and dies without a lock and without a visit
/// to another thread.
/// Thread: its loop's, where nothing else is said.
/// Lifetime: shared by the server and by the tasks that it sends here.
class ConnectionSet : noncopyable, public std::enable_shared_from_this<ConnectionSet> {
 public:
  /// `profile` is what all connections here get, less the closeCallback, which is this set's.
  /// `live` counts the connections of all sets of the server; any thread may read it.
  [[nodiscard]] static std::shared_ptr<ConnectionSet> create(
      ConnectionProfile profile, std::shared_ptr<std::atomic<std::size_t>> live, IdleTimeout idle);

  /// Thread: any.
  [[nodiscard]] const std::shared_ptr<const ConnectionProfile>& profile() const { return profile_; }
  [[nodiscard]] Mailbox& mailbox() const { return *profile_->mailbox; }

  /// Keeps the connection until it is down, and brings it up. Whoever hands it over counts it.
  void add(const TcpConnectionPtr& connection);

  /// Asks every connection to end when its output is sent. `whenEmpty` runs when the last is gone.
  void drain(Task whenEmpty);
  /// Ends every connection in the next round. Returns how many.
  std::size_t cut();
  /// Ends every connection now.
  void destroy();

 private:
  /// What the wheel knows a connection by.
  struct Watched final : TimingWheel::Entry {
    Watched(TcpConnection& c, TimingWheel& w) : connection(c), wheel(w) {}
    void onIdle() override;

    TcpConnection& connection;
    TimingWheel& wheel;
    std::size_t outputBytes = 0;  // that waited when it was last looked at
  };

  ConnectionSet(std::shared_ptr<std::atomic<std::size_t>> live, IdleTimeout idle)
      : live_(std::move(live)), idle_(idle) {}

  void touch(const TcpConnectionPtr& connection);
  void remove(const TcpConnectionPtr& connection);
  void tellWhenEmpty();

  std::shared_ptr<const ConnectionProfile> profile_;
  const std::shared_ptr<std::atomic<std::size_t>> live_;
  const IdleTimeout idle_;
  std::unique_ptr<TimingWheel> wheel_;         // made by the first connection, on the loop's thread
  std::vector<TcpConnectionPtr> connections_;  // each knows its index
  std::unordered_map<std::uint64_t, Watched> watched_;  // those same, or none without a timeout
  Task whenEmpty_;
};

}  // namespace rung
