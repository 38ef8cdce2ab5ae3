#include "rung/net/ConnectionSet.h"

#include <utility>

#include "rung/net/TcpConnection.h"

namespace rung {

std::shared_ptr<ConnectionSet> ConnectionSet::create(
    ConnectionProfile profile, std::shared_ptr<std::atomic<std::size_t>> live) {
  std::shared_ptr<ConnectionSet> set(new ConnectionSet(std::move(live)));
  // Weak: the set owns the connections, and they own the profile.
  profile.closeCallback = [weak = set->weak_from_this()](const TcpConnectionPtr& connection) {
    if (const auto locked = weak.lock()) locked->remove(connection);
  };
  set->profile_ = std::make_shared<const ConnectionProfile>(std::move(profile));
  return set;
}

void ConnectionSet::add(const TcpConnectionPtr& connection) {
  connections_.emplace(connection->id(), connection);
  connection->connectEstablished();
}

void ConnectionSet::remove(const TcpConnectionPtr& connection) {
  if (connections_.erase(connection->id()) == 0) return;  // destroy() was faster
  live_->fetch_sub(1, std::memory_order_relaxed);
  tellWhenEmpty();
}

void ConnectionSet::drain(Task whenEmpty) {
  whenEmpty_ = std::move(whenEmpty);
  for (const auto& [id, connection] : connections_)
    connection->shutdown();
  tellWhenEmpty();
}

std::size_t ConnectionSet::cut() {
  for (const auto& [id, connection] : connections_)
    connection->forceClose();
  return connections_.size();
}

void ConnectionSet::destroy() {
  // Callbacks run meanwhile, and may do anything: they must not meet a map that is being walked.
  const auto doomed = std::exchange(connections_, {});
  live_->fetch_sub(doomed.size(), std::memory_order_relaxed);
  for (const auto& [id, connection] : doomed)
    connection->connectDestroyed();
  tellWhenEmpty();
}

void ConnectionSet::tellWhenEmpty() {
  if (!whenEmpty_ || !connections_.empty()) return;
  Task tell = std::move(whenEmpty_);
  tell();
}

}  // namespace rung
