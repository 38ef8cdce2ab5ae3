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
  connection->setIndex(static_cast<std::uint32_t>(connections_.size()));
  connections_.push_back(connection);
  connection->connectEstablished();
}

void ConnectionSet::remove(const TcpConnectionPtr& connection) {
  const std::uint32_t index = connection->index();
  if (index >= connections_.size() || connections_[index] != connection) return;  // destroy() did
  // The last one takes its place: no search, and 16 bytes a connection.
  std::swap(connections_[index], connections_.back());
  connections_[index]->setIndex(index);
  connections_.pop_back();
  live_->fetch_sub(1, std::memory_order_relaxed);
  tellWhenEmpty();
}

void ConnectionSet::drain(Task whenEmpty) {
  whenEmpty_ = std::move(whenEmpty);
  for (const TcpConnectionPtr& connection : connections_)
    connection->shutdown();
  tellWhenEmpty();
}

std::size_t ConnectionSet::cut() {
  for (const TcpConnectionPtr& connection : connections_)
    connection->forceClose();
  return connections_.size();
}

void ConnectionSet::destroy() {
  // Callbacks run meanwhile, and may do anything: they must not meet a vector that is being walked.
  const auto doomed = std::exchange(connections_, {});
  live_->fetch_sub(doomed.size(), std::memory_order_relaxed);
  for (const TcpConnectionPtr& connection : doomed)
    connection->connectDestroyed();
  tellWhenEmpty();
}

void ConnectionSet::tellWhenEmpty() {
  if (!whenEmpty_ || !connections_.empty()) return;
  Task tell = std::move(whenEmpty_);
  tell();
}

}  // namespace rung
