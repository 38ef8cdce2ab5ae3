#include "rung/net/ConnectionSet.h"

#include <utility>

#include "rung/base/Logging.h"
#include "rung/net/TcpConnection.h"

namespace rung {

std::shared_ptr<ConnectionSet> ConnectionSet::create(ConnectionProfile profile,
                                                     std::shared_ptr<std::atomic<std::size_t>> live,
                                                     IdleTimeout idle) {
  std::shared_ptr<ConnectionSet> set(new ConnectionSet(std::move(live), idle));
  // Weak: the set owns the connections, and they own the profile.
  profile.closeCallback = [weak = set->weak_from_this()](const TcpConnectionPtr& connection) {
    if (const auto locked = weak.lock()) locked->remove(connection);
  };
  if (idle.timeout.count() > 0) {
    profile.messageCallback = [weak = set->weak_from_this(), inner = profile.messageCallback](
                                  const TcpConnectionPtr& connection, Buffer& buffer,
                                  Timestamp receiveTime) {
      if (const auto locked = weak.lock()) locked->touch(connection);
      inner ? inner(connection, buffer, receiveTime) : buffer.retrieveAll();
    };
  }
  set->profile_ = std::make_shared<const ConnectionProfile>(std::move(profile));
  return set;
}

void ConnectionSet::add(const TcpConnectionPtr& connection) {
  connection->setIndex(static_cast<std::uint32_t>(connections_.size()));
  connections_.push_back(connection);
  if (idle_.timeout.count() > 0) {
    if (wheel_ == nullptr) {
      wheel_ = std::make_unique<TimingWheel>(profile_->loop, idle_.timeout, idle_.tick);
    }
    wheel_->add(watched_.try_emplace(connection->id(), *connection, *wheel_).first->second);
  }
  connection->connectEstablished();
}

void ConnectionSet::remove(const TcpConnectionPtr& connection) {
  const std::uint32_t index = connection->index();
  if (index >= connections_.size() || connections_[index] != connection) return;  // destroy() did
  // The last one takes its place: no search, and 16 bytes a connection.
  std::swap(connections_[index], connections_.back());
  connections_[index]->setIndex(index);
  connections_.pop_back();
  watched_.erase(connection->id());
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
  watched_.clear();
  wheel_.reset();
  const auto doomed = std::exchange(connections_, {});
  live_->fetch_sub(doomed.size(), std::memory_order_relaxed);
  for (const TcpConnectionPtr& connection : doomed)
    connection->connectDestroyed();
  tellWhenEmpty();
}

/// Bytes have arrived: one look-up and one store.
void ConnectionSet::touch(const TcpConnectionPtr& connection) {
  const auto found = watched_.find(connection->id());
  if (found != watched_.end()) wheel_->refresh(found->second);
}

void ConnectionSet::Watched::onIdle() {
  // A peer that reads a long answer slowly sends nothing meanwhile: as long as the output shrinks,
  // it is not idle.
  const std::size_t waiting = connection.outputBytes();
  if (waiting != std::exchange(outputBytes, waiting) && waiting > 0) {
    wheel.refresh(*this);
    return;
  }
  LOG_DEBUG << connection.name() << " was idle for too long, closing";
  connection.forceClose();
}

void ConnectionSet::tellWhenEmpty() {
  if (!whenEmpty_ || !connections_.empty()) return;
  Task tell = std::move(whenEmpty_);
  tell();
}

}  // namespace rung
