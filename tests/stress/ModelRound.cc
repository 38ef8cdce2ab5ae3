#include "tests/stress/ModelRound.h"

#include <sys/socket.h>

#include <thread>

#include "rung/net/TcpConnection.h"

#include "tests/stress/ModelPeer.h"

namespace rung::testing {

namespace {

using Clock = std::chrono::steady_clock;

/// Accepted sockets have what their listener has. TcpServer gives no access to its own.
void setSendBytes(const InetAddress& listening, int bytes) {
  for (int fd = 3; fd < 1024; ++fd) {
    sockaddr_storage address{};
    socklen_t length = sizeof address;
    if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) continue;
    if (address.ss_family != AF_INET || !(InetAddress(address) == listening)) continue;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
  }
}

}  // namespace

Round::Round(const RoundPlan& plan) : plan_(plan), cutFrom_(Clock::time_point::max()) {
  for (std::size_t i = 0; i < plan.connections.size(); ++i)
    connections_.push_back(std::make_unique<ModelConnection>(plan.connections[i], i));
}

ModelConnection& Round::modelOf(const TcpConnectionPtr& connection) {
  return *connections_[ModelPeer::connectionOf(connection->peerAddress())];
}

void Round::setUp(TcpServer& server) {
  if (plan_.sendBytes > 0) setSendBytes(server.listenAddress(), plan_.sendBytes);
  // Nobody is idle for so long; that it is watched must change nothing.
  if (plan_.watchesIdle) server.setIdleTimeout(3 * patience());
  server.setConnectionCallback(
      [this](const auto& c) { c->connected() ? modelOf(c).up(c) : modelOf(c).down(c); });
  server.setMessageCallback([this](const auto& c, auto& b, auto) { modelOf(c).message(c, b); });
  server.setWriteCompleteCallback(
      [this](const auto& c) { modelOf(c).called(On::writeComplete, c); });
  server.setHighWaterMarkCallback(
      [this](const auto& c, auto) { modelOf(c).called(On::highWater, c); });
  server.setLowWaterMarkCallback(
      [this](const auto& c, auto) { modelOf(c).called(On::lowWater, c); });
  if (plan_.drainCallback) {
    server.setDrainCallback([this](const auto& c) { modelOf(c).called(On::drain, c); });
  }
  server.setThreadInitCallback([this](EventLoop* loop) { loops_.push_back(loop); });
}

void Round::run() {
  {
    ServerThread server([this](TcpServer& s) { setUp(s); }, plan_.threads);
    address_ = server.address();
    std::vector<std::thread> threads;
    for (const auto& model : connections_) {
      for (std::size_t worker = 1; worker <= model->plan.workers.size(); ++worker)
        threads.emplace_back([&model = *model, worker] { model.work(worker); });
      threads.emplace_back([this, &model = *model] { runPeer(model); });
    }
    end(server);
    for (std::thread& thread : threads)
      thread.join();
    if (plan_.ending != Ending::destroy) awaitTheEnd(server.server());
  }
  for (const auto& model : connections_) {
    if (model->connection != nullptr) model->lostBytes = model->connection->outputBytes();
    model->connection.reset();
  }
}

void Round::runPeer(ModelConnection& model) {
  if (!model.peer.connect(address_, model.plan.peer, model.number)) return;
  if (!model.plan.peer.eager) (void)model.settled.waitUntil(Clock::now() + patience());
  model.peer.run([&model] { return model.settled.count() == 0 && model.connection == nullptr; });
}

void Round::end(ServerThread& server) {
  if (plan_.ending == Ending::none) return;
  std::this_thread::sleep_for(std::chrono::microseconds(plan_.endAfterMicros));
  if (plan_.ending == Ending::stopAccepting) return stopAccepting(server);
  if (plan_.ending != Ending::destroy) return stop(server);
  cutFrom_ = Clock::now();
  server.destroyServer();
  settleAll();
}

void Round::stop(ServerThread& server) {
  Clock::duration deadline = Clock::duration::max();
  if (plan_.ending == Ending::stopSoon) {
    deadline = std::chrono::microseconds(plan_.deadlineMicros);
    cutFrom_ = Clock::now() + deadline;
  }
  server.server().stop(deadline, [this](TcpServer::StopResult result) {
    result_ = result;
    answeredAt_ = Clock::now();
    settleAll();
    stopped_.countDown();
  });
  if (!stopped_.waitUntil(Clock::now() + 2 * patience())) problem_ += "stop() is never done; ";
}

/// What was on its way to a loop is there when that loop has come to a later task.
void Round::stopAccepting(ServerThread& server) {
  server.server().stopAccepting();
  ServerThread::runOn(server.loop(), [] {});
  for (EventLoop* loop : loops_)
    ServerThread::runOn(loop, [] {});
  settleAll();
}

void Round::settleAll() {
  for (const auto& model : connections_)
    model->settle(nullptr);
}

void Round::awaitTheEnd(const TcpServer& server) {
  const Clock::time_point deadline = Clock::now() + patience();
  while (server.connectionCount() > 0 && Clock::now() < deadline)
    std::this_thread::yield();
  if (server.connectionCount() == 0) return;
  problem_ += "connectionCount() stays " + std::to_string(server.connectionCount()) + "; ";
  for (const auto& model : connections_)
    model->stays = model->connection != nullptr && model->connection->connected();
}

}  // namespace rung::testing
