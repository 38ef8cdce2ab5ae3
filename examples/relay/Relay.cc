#include "relay/Relay.h"

#include <any>
#include <memory>
#include <utility>

#include "rung/net/TcpClient.h"
#include "rung/net/TcpConnection.h"

#include "common/Program.h"

namespace relay {

namespace {

/// One of the two connections, in its context.
struct Side {
  rung::TcpConnectionPtr other;             // once there are two
  std::shared_ptr<rung::TcpClient> client;  // of the onward one; it goes with the last of the two
  bool ended = false;                       // its peer has said that it sends no more
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
  // Destroyed at the end of this function, and with it an attempt that is under way, unless the
  // other connection has it, too.
  const auto client = std::exchange(side.client, {});
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

/// The onward connection is up. Until now the incoming one alone had the client.
void join(const rung::TcpConnectionPtr& incoming, const rung::TcpConnectionPtr& onward) {
  (void)onward->setTcpNoDelay(true);  // it is not for the relay to delay what the client sent
  onward->setContext(Side{.other = incoming, .client = sideOf(incoming).client});
  sideOf(incoming).other = onward;
  incoming->startRead();
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
  server_.setLimits(limits_);
  server_.setConnectionCallback([this](const auto& connection) { onConnection(connection); });
  server_.setMessageCallback(
      [this](const auto& from, rung::Buffer& bytes, rung::Timestamp) { onMessage(from, bytes); });
  server_.setLowWaterMarkCallback([](const auto& to, std::size_t) { onLowWater(to); });
  server_.setHalfCloseCallback(onHalfClose);
  if (settings.idleTimeout.count() > 0) server_.setIdleTimeout(settings.idleTimeout);
}

void Relay::onConnection(const rung::TcpConnectionPtr& connection) {
  common::logConnection(connection);
  if (!connection->connected()) return onDown(connection);
  connection->setContext(Side{});
  startOnward(connection);
}

/// Both connections are served by one loop.
void Relay::startOnward(const rung::TcpConnectionPtr& incoming) {
  incoming->stopRead();  // there is nowhere to put it yet
  rung::TcpClient::Options options;
  options.attempt.timeout = settings_.connectTimeout;
  const auto client = std::make_shared<rung::TcpClient>(incoming->loop(), settings_.target,
                                                        "onward", std::move(options));
  client->setLimits(limits_);
  // Weak: the connection owns the client.
  client->setConnectionCallback([weak = std::weak_ptr(incoming)](const auto& onward) {
    if (!onward->connected()) return onDown(onward);
    if (const auto connection = weak.lock()) join(connection, onward);
  });
  client->setFailureCallback([weak = std::weak_ptr(incoming)](const auto& failure, auto) {
    const auto connection = weak.lock();
    if (connection == nullptr) return;
    LOG_INFO << connection->peerAddress().toIpPort() << " closed: " << failure.toText();
    connection->forceClose();
  });
  client->setMessageCallback(
      [this](const auto& from, rung::Buffer& bytes, rung::Timestamp) { onMessage(from, bytes); });
  client->setLowWaterMarkCallback([](const auto& to, std::size_t) { onLowWater(to); });
  client->setHalfCloseCallback(onHalfClose);
  sideOf(incoming).client = client;
  client->connect();
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
