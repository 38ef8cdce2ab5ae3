#include "relay/Relay.h"

#include <any>
#include <string>
#include <system_error>
#include <utility>

#include "rung/net/TcpConnection.h"

#include "common/Program.h"
#include "relay/Connector.h"

namespace relay {

namespace {

/// One of the two connections, in its context.
struct Side {
  rung::TcpConnectionPtr other;          // once there are two
  std::shared_ptr<Connector> connector;  // until then
  bool ended = false;                    // its peer has said that it sends no more
};

Side& sideOf(const rung::TcpConnectionPtr& connection) {
  return *std::any_cast<Side>(&connection->context());
}

/// The output of `to` is down to the low-water mark: it can take more.
void onLowWater(const rung::TcpConnectionPtr& to) {
  if (const auto& from = sideOf(to).other) from->startRead();
}

/// One direction is done. The FIN goes out behind the bytes that still wait; the other direction
/// goes on.
void onHalfClose(const rung::TcpConnectionPtr& from) {
  sideOf(from).ended = true;
  if (const auto& to = sideOf(from).other) to->shutdown();
}

void onDown(const rung::TcpConnectionPtr& gone) {
  Side& side = sideOf(gone);
  if (side.connector != nullptr) std::exchange(side.connector, {})->cancel();
  const rung::TcpConnectionPtr left = std::exchange(side.other, {});
  if (left == nullptr) return;
  Side& leftSide = sideOf(left);
  leftSide.other = {};
  if (gone->error() != 0) {
    left->forceClose();  // a reset, or worse: there is nobody for whom to go on
  } else if (leftSide.ended) {
    left->shutdown();  // both peers have said all; this one still gets what waits for it
  } else {
    // We have ended the other, being idle or at the end of the program.
    left->close(common::kLingerTime);
  }
}

}  // namespace

Relay::Relay(rung::EventLoop* loop, const rung::InetAddress& listenAddress, int threads,
             const Settings& settings)
    : settings_(settings),
      // The library would stop reading from a connection whose own output is stuck: right for an
      // echo, wrong here, where that input has nothing to do with that output.
      limits_{.highWaterMark = settings.highWaterBytes,
              .lowWaterMark = settings.highWaterBytes / 4,
              .pauseReading = false},
      server_(loop, listenAddress, "relay") {
  server_.setThreadNum(threads);
  server_.setThreadInitCallback([this](rung::EventLoop* own) { addSite(own); });
  server_.setLimits(limits_);
  server_.setConnectionCallback([this](const auto& connection) { onConnection(connection); });
  server_.setMessageCallback(
      [this](const auto& from, rung::Buffer& bytes, rung::Timestamp) { onMessage(from, bytes); });
  server_.setLowWaterMarkCallback([](const auto& to, std::size_t) { onLowWater(to); });
  server_.setHalfCloseCallback(onHalfClose);
  if (settings.idleTimeout.count() > 0) server_.setIdleTimeout(settings.idleTimeout);
}

Relay::Site::~Site() {
  // The loop may still be there: no connection may go while it is registered.
  for (const auto& connection : std::exchange(onward, {}))
    connection->connectDestroyed();
}

void Relay::addSite(rung::EventLoop* loop) {
  Site& site = sites_[loop];
  rung::ConnectionProfile profile;
  profile.loop = loop;
  profile.mailbox = loop->mailbox();
  profile.serverName = "onward";
  profile.callbacks.limits = limits_;
  profile.callbacks.connection = [](const auto& connection) {
    if (!connection->connected()) onDown(connection);
  };
  profile.callbacks.message = [this](const auto& from, rung::Buffer& bytes, rung::Timestamp) {
    onMessage(from, bytes);
  };
  profile.callbacks.lowWaterMark = [](const auto& to, std::size_t) { onLowWater(to); };
  profile.callbacks.halfClose = onHalfClose;
  profile.closeCallback = [&site](const auto& connection) { site.onward.erase(connection); };
  profile.lingerCallback = [loop](const auto& connection, auto linger) {
    loop->runAfter(linger, [weak = std::weak_ptr(connection)] {
      if (const auto late = weak.lock()) late->cut(rung::CloseReason::lingerExpired);
    });
  };
  site.profile = std::make_shared<const rung::ConnectionProfile>(std::move(profile));
}

void Relay::onConnection(const rung::TcpConnectionPtr& connection) {
  common::logConnection(connection);
  if (!connection->connected()) return onDown(connection);
  connection->setContext(Side{});
  startOnward(connection);
}

void Relay::startOnward(const rung::TcpConnectionPtr& incoming) {
  incoming->stopRead();  // there is nowhere to put it yet
  // Weak: the connection owns the Connector.
  auto done = [this, weak = std::weak_ptr(incoming)](rung::Socket socket, int error) {
    const auto connection = weak.lock();
    if (connection == nullptr) return;
    if (error == 0) return join(connection, std::move(socket));
    LOG_INFO << connection->peerAddress().toIpPort() << " closed: connect to "
             << settings_.target.toIpPort() << ": " << std::generic_category().message(error);
    connection->forceClose();
  };
  const auto connector = std::make_shared<Connector>(incoming->loop(), std::move(done));
  sideOf(incoming).connector = connector;
  connector->start(settings_.target, settings_.connectTimeout);
}

void Relay::join(const rung::TcpConnectionPtr& incoming, rung::Socket socket) {
  Site& site = sites_.at(incoming->loop());
  (void)socket.setTcpNoDelay(true);  // it is not for the relay to delay what the client sent
  const auto onward = std::make_shared<rung::TcpConnection>(site.profile, ++site.lastId,
                                                            std::move(socket), settings_.target);
  onward->setContext(Side{.other = incoming, .connector = {}});
  sideOf(incoming) = Side{.other = onward, .connector = {}};
  site.onward.insert(onward);
  onward->connectEstablished();
  if (!onward->connected()) {  // epoll had no room for it
    sideOf(incoming).other = {};
    return incoming->forceClose();
  }
  incoming->startRead();
}

void Relay::onMessage(const rung::TcpConnectionPtr& from, rung::Buffer& bytes) const {
  const rung::TcpConnectionPtr to = sideOf(from).other;
  if (to == nullptr) return bytes.retrieveAll();  // it is gone, and this one is about to go
  to->send(bytes);
  // Here, and not in the high-water callback: that one is called later, when the output may be low
  // again, and then nothing would resume this side.
  if (to->outputBytes() >= limits_.highWaterMark) from->stopRead();
}

}  // namespace relay
