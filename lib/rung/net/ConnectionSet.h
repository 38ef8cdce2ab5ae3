#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "rung/base/Task.h"
#include "rung/base/noncopyable.h"
#include "rung/net/Callbacks.h"
#include "rung/net/ServerStats.h"
#include "rung/net/TimerId.h"
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
  /// The counts of all sets of a server together.
  using Counts = ServerCounts;
  /// A stop() that is under way. All sets of a server share one, each until its last connection is
  /// gone; so it ends with the last of them, also where a loop ends first.
  struct Drain : noncopyable {
    explicit Drain(std::function<void()> callback) : over(std::move(callback)) {}
    ~Drain() { over(); }

    const std::function<void()> over;
  };

  /// One forEachConnection() of a server. Its sets share it, each until it is through, or its loop
  /// is gone; so it is over with the last of them.
  struct Visit : noncopyable {
    explicit Visit(ConnectionCallback c) : callback(std::move(c)) {}
    ~Visit() {
      callback = nullptr;
      if (over) over();
    }

    ConnectionCallback callback;
    Task over;
  };

  /// All connections here get `profile`, to which the set adds the callbacks for their owner.
  /// Errors: throws as TimingWheel does.
  [[nodiscard]] static std::shared_ptr<ConnectionSet> create(ConnectionProfile profile,
                                                             std::shared_ptr<Counts> counts,
                                                             IdleTimeout idle);

  /// Thread: any.
  [[nodiscard]] const std::shared_ptr<const ConnectionProfile>& profile() const { return profile_; }
  [[nodiscard]] Mailbox& mailbox() const { return *profile_->mailbox; }

  /// Brings the connection up, and keeps it until it is down. The caller has counted it.
  void add(const TcpConnectionPtr& connection);

  /// Asks every connection to finish: see TcpConnection::drain().
  void drain(std::shared_ptr<Drain> drain);
  /// Calls back for every connection that is up.
  void visit(const Visit& visit);
  /// Ends every connection in the next round.
  void cut();
  /// Ends every connection now.
  void destroy();

 private:
  using Clock = std::chrono::steady_clock;

  /// The entry of a connection in the wheel.
  struct Watched final : TimingWheel::Entry {
    Watched(TcpConnection& c, ConnectionSet& s) : connection(c), set(s) {}
    void onIdle() override;

    TcpConnection& connection;
    ConnectionSet& set;
    int unacknowledged = 0;  // bytes, when it was last looked at
  };

  ConnectionSet(std::shared_ptr<Counts> counts, IdleTimeout idle);

  void remove(const TcpConnectionPtr& connection);
  void countEnd(CloseReason reason);
  template <class Work>
  void forEach(Work work);
  void linger(const TcpConnectionPtr& connection, Clock::duration linger);
  void startTicking();

  std::shared_ptr<const ConnectionProfile> profile_;
  const std::shared_ptr<Counts> counts_;
  std::vector<TcpConnectionPtr> connections_;             // each knows its index
  std::unordered_map<std::uint64_t, TimerId> lingering_;  // some of them, and when they are cut
  const IdleTimeout idle_;
  std::unique_ptr<TimingWheel> wheel_;                  // nullptr without an idle timeout
  std::unordered_map<std::uint64_t, Watched> watched_;  // all of them then
  std::shared_ptr<Drain> drain_;
};

}  // namespace rung
