#include "rung/net/ConnectionSet.h"

#include <algorithm>
#include <new>
#include <utility>

#include "rung/base/Deadline.h"
#include "rung/net/EventLoop.h"
#include "rung/net/TcpConnection.h"

namespace rung {

ConnectionSet::ConnectionSet(EventLoop* loop, std::shared_ptr<Counts> counts)
    : counts_(std::move(counts)),
      lingerTimer_(std::make_unique<TimerFd>(loop, [this] { cutWhoLingers(); })) {}

std::shared_ptr<ConnectionSet> ConnectionSet::create(ConnectionProfile profile,
                                                     std::shared_ptr<Counts> counts) {
  std::shared_ptr<ConnectionSet> set(new ConnectionSet(profile.loop, std::move(counts)));
  // Weak: the set owns the connections, and they own the profile.
  profile.closeCallback = [weak = set->weak_from_this()](const TcpConnectionPtr& connection) {
    if (const auto locked = weak.lock()) locked->remove(connection);
  };
  profile.lingerCallback = [weak = set->weak_from_this()](const TcpConnectionPtr& connection,
                                                          Clock::duration linger) {
    if (const auto locked = weak.lock()) locked->linger(connection.get(), linger);
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
  lingering_.erase(connection.get());
  const CloseReason reason = connection->closeReason();
  if (connection->outputBytes() > 0 || reason == CloseReason::stopped ||
      reason == CloseReason::loopGone) {
    ++counts_->cut;
  }
  --counts_->live;
  if (connections_.empty()) drain_.reset();
}

void ConnectionSet::drain(std::shared_ptr<Drain> drain) {
  drain_ = std::move(drain);
  // From the end: one that ends at once leaves the vector, and the last one takes its place. No
  // other ends meanwhile. Not over a copy, for which there may be no memory.
  for (std::size_t i = connections_.size(); i > 0; i = std::min(i - 1, connections_.size())) {
    const TcpConnectionPtr connection = connections_[i - 1];
    connection->drain();
  }
  if (connections_.empty()) drain_.reset();
}

void ConnectionSet::cut() {
  try {
    for (const TcpConnectionPtr& connection : connections_)
      connection->cut(CloseReason::stopped);
  } catch (const std::bad_alloc&) {  // the server asks again
  }
}

void ConnectionSet::destroy() {
  lingering_.clear();
  lingerTimer_.reset();
  // Callbacks run meanwhile, and may do anything: they must not meet a vector that is being walked.
  const auto doomed = std::exchange(connections_, {});
  counts_->live -= doomed.size();
  for (const TcpConnectionPtr& connection : doomed)
    connection->connectDestroyed();
  drain_.reset();
}

void ConnectionSet::linger(TcpConnection* connection, Clock::duration linger) {
  if (lingerTimer_ == nullptr) return;  // all of them end now
  Clock::time_point& deadline =
      lingering_.try_emplace(connection, Clock::time_point::max()).first->second;
  deadline = std::min(deadline, deadlineAfter(linger));
  cutWhoLingers();
}

void ConnectionSet::cutWhoLingers() {
  const Clock::time_point now = Clock::now();
  Clock::time_point next = Clock::time_point::max();
  for (auto& [connection, deadline] : lingering_) {
    if (deadline <= now) {
      connection->cut(CloseReason::lingerExpired);
      deadline = Clock::time_point::max();
    }
    next = std::min(next, deadline);
  }
  if (next != Clock::time_point::max()) lingerTimer_->arm(next);
}

}  // namespace rung
