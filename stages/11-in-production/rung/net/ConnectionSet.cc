#include "rung/net/ConnectionSet.h"

#include <algorithm>
#include <new>
#include <utility>

#include "rung/base/Logging.h"
#include "rung/net/EventLoop.h"
#include "rung/net/Mailbox.h"
#include "rung/net/TcpConnection.h"

namespace rung {

ConnectionSet::ConnectionSet(std::shared_ptr<Counts> counts, IdleTimeout idle)
    : counts_(std::move(counts)), idle_(idle) {
  if (idle_.timeout.count() <= 0) return;
  // Turned by startTicking(), which counts the same ticks for the connections to note.
  wheel_ = std::make_unique<TimingWheel>(nullptr, idle_.timeout, idle_.tick);
}

std::shared_ptr<ConnectionSet> ConnectionSet::create(ConnectionProfile profile,
                                                     std::shared_ptr<Counts> counts,
                                                     IdleTimeout idle) {
  std::shared_ptr<ConnectionSet> set(new ConnectionSet(std::move(counts), idle));
  // Weak: the set owns the connections, and they own the profile.
  profile.closeCallback = [weak = set->weak_from_this()](const TcpConnectionPtr& connection) {
    if (const auto locked = weak.lock()) locked->remove(connection);
  };
  profile.lingerCallback = [weak = set->weak_from_this()](const TcpConnectionPtr& connection,
                                                          Clock::duration linger) {
    if (const auto locked = weak.lock()) locked->linger(connection, linger);
  };
  set->profile_ = std::make_shared<const ConnectionProfile>(std::move(profile));
  set->counts_->add(set->profile_);
  if (set->wheel_ != nullptr) set->startTicking();
  return set;
}

void ConnectionSet::add(const TcpConnectionPtr& connection) {
  connection->setIndex(static_cast<std::uint32_t>(connections_.size()));
  try {
    connections_.push_back(connection);
    if (wheel_ != nullptr) {
      wheel_->add(watched_.try_emplace(connection->id(), *connection, *this).first->second);
    }
  } catch (const std::bad_alloc&) {  // its socket closes with it
    if (connection->index() < connections_.size()) connections_.pop_back();
    ++counts_->noMemory;
    counts_->oneLess();
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
  watched_.erase(connection->id());
  if (const auto found = lingering_.find(connection->id()); found != lingering_.end()) {
    // A loop that is gone has taken its timers along.
    if (EventLoop* loop = profile_->mailbox->loop()) loop->cancel(found->second);
    lingering_.erase(found);
  }
  const CloseReason reason = connection->closeReason();
  if (connection->outputBytes() > 0 || reason == CloseReason::stopped ||
      reason == CloseReason::loopGone) {
    ++counts_->cut;
  }
  countEnd(reason);
  counts_->oneLess();
  if (connections_.empty()) drain_.reset();
}

void ConnectionSet::countEnd(CloseReason reason) {
  profile_->counters.ended[static_cast<std::size_t>(reason)].add(1);
}

// From the end: one that ends at once leaves the vector, and the last one takes its place. No other
// ends meanwhile, unless all do. Not over a copy, for which there may be no memory.
template <class Work>
void ConnectionSet::forEach(Work work) {
  for (std::size_t i = connections_.size(); i > 0; i = std::min(i - 1, connections_.size())) {
    const TcpConnectionPtr connection = connections_[i - 1];
    work(*connection);
  }
}

void ConnectionSet::visit(const Visit& visit) {
  forEach([&](TcpConnection& connection) { connection.visit(visit.callback); });
}

void ConnectionSet::drain(std::shared_ptr<Drain> drain) {
  drain_ = std::move(drain);
  forEach([](TcpConnection& connection) { connection.drain(); });
  if (connections_.empty()) drain_.reset();
}

void ConnectionSet::cut() {
  for (const TcpConnectionPtr& connection : connections_)
    connection->cut(CloseReason::stopped);
}

void ConnectionSet::destroy() {
  watched_.clear();
  wheel_.reset();
  // Callbacks run meanwhile, and may do anything: they must not meet a vector that is being walked.
  const auto doomed = std::exchange(connections_, {});
  counts_->live -= doomed.size();
  for (const TcpConnectionPtr& connection : doomed) {
    connection->connectDestroyed();
    countEnd(connection->closeReason());
  }
  drain_.reset();
}

void ConnectionSet::linger(const TcpConnectionPtr& connection, Clock::duration linger) {
  const TimerId timer = profile_->loop->runAfter(linger, [weak = std::weak_ptr(connection)] {
    if (const auto late = weak.lock()) late->cut(CloseReason::lingerExpired);
  });
  // Of a second one nothing needs to be known: it is later, or it cuts the connection.
  lingering_.try_emplace(connection->id(), timer);
}

// Not runEvery(): after a late tick its next one comes sooner, and bytes that moved just before the
// late tick would lose the difference. The drift does no harm.
void ConnectionSet::startTicking() {
  profile_->loop->runAfter(idle_.tick, [weak = weak_from_this()] {
    const auto set = weak.lock();
    if (set == nullptr || set->wheel_ == nullptr) return;
    ++set->profile_->ticks;
    set->startTicking();
    set->wheel_->tick();
  });
}

/// No longer idle if bytes have moved since, in either direction, or if a hold of it exists. A peer
/// that reads slowly may let its window stay full for long: the kernel takes nothing more from us
/// meanwhile, and acknowledged bytes are the only sign of life. They are asked for only now, since
/// that takes a system call.
void ConnectionSet::Watched::onIdle() {
  TimingWheel& wheel = *set.wheel_;
  wheel.refresh(*this, set.profile_->ticks - connection.movedAt());
  if (!wheel.isIdle(*this)) return;
  if (connection.isHeld()) return wheel.refresh(*this);
  const int before = std::exchange(unacknowledged, connection.unacknowledgedBytes());
  if (unacknowledged != 0 && unacknowledged != before) return wheel.refresh(*this);
  LOG_DEBUG << connection.name() << " was idle for too long, closing";
  connection.cut(CloseReason::idle);
}

}  // namespace rung
