#include "rung/net/ConnectionSet.h"

#include <algorithm>
#include <new>
#include <utility>

#include "rung/net/TcpConnection.h"

namespace rung {

std::shared_ptr<ConnectionSet> ConnectionSet::create(ConnectionProfile profile,
                                                     std::shared_ptr<Counts> counts) {
  std::shared_ptr<ConnectionSet> set(new ConnectionSet(std::move(counts)));
  // Weak: the set owns the connections, and they own the profile.
  profile.closeCallback = [weak = set->weak_from_this()](const TcpConnectionPtr& connection) {
    if (const auto locked = weak.lock()) locked->remove(connection);
  };
  set->profile_ = std::make_shared<const ConnectionProfile>(std::move(profile));
  return set;
}

void ConnectionSet::add(const TcpConnectionPtr& connection) {
  connection->setIndex(static_cast<std::uint32_t>(connections_.size()));
  try {
    connections_.push_back(connection);
  } catch (const std::bad_alloc&) {  // its socket closes with it
    if (connection->index() < connections_.size()) connections_.pop_back();
    --counts_->live;
    return;
  }
  connection->connectEstablished();
  if (drain_ != nullptr) connection->drain();
}

void ConnectionSet::remove(const TcpConnectionPtr& connection) {
  const std::uint32_t index = connection->index();
  if (index >= connections_.size() || connections_[index] != connection) return;  // destroy() did
  // The last one takes its place: no search, and 16 bytes a connection.
  std::swap(connections_[index], connections_.back());
  connections_[index]->setIndex(index);
  connections_.pop_back();
  if (connection->outputBytes() > 0 || cutting_) ++counts_->cut;
  --counts_->live;
  if (connections_.empty()) drain_.reset();
}

void ConnectionSet::drain(std::shared_ptr<Drain> drain) {
  drain_ = std::move(drain);
  // From the end, so that one which leaves meanwhile would do no harm. Not over a copy, for which
  // there may be no memory.
  for (std::size_t i = connections_.size(); i > 0; i = std::min(i - 1, connections_.size())) {
    const TcpConnectionPtr connection = connections_[i - 1];
    connection->drain();
  }
  if (connections_.empty()) drain_.reset();
}

void ConnectionSet::cut() {
  cutting_ = true;
  for (const TcpConnectionPtr& connection : connections_)
    connection->forceClose();
}

void ConnectionSet::destroy() {
  // Callbacks run meanwhile, and may do anything: they must not meet a vector that is being walked.
  const auto doomed = std::exchange(connections_, {});
  counts_->live -= doomed.size();
  for (const TcpConnectionPtr& connection : doomed)
    connection->connectDestroyed();
  drain_.reset();
}

}  // namespace rung
