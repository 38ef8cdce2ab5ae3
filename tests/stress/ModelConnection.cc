#include "tests/stress/ModelConnection.h"

#include <algorithm>
#include <string_view>
#include <thread>
#include <utility>

#include "rung/net/EventLoop.h"

#include "tests/support/ChangeCallbacks.h"

namespace rung::testing {

ModelConnection::ModelConnection(const ConnectionPlan& connectionPlan, std::size_t connectionNumber)
    : plan(connectionPlan),
      number(connectionNumber),
      workersLeft(plan.workers.size()),
      highWaterMark(plan.highWaterMark > 0 ? plan.highWaterMark
                                           : ConnectionLimits{}.highWaterMark) {
  for (std::size_t i = 0; i <= plan.workers.size(); ++i)
    actors.push_back(std::make_unique<ModelActor>(*this, static_cast<std::uint16_t>(i)));
}

bool ModelConnection::settle(const TcpConnectionPtr& live) {
  if (isSettled.exchange(true)) return false;
  connection = live;
  settled.countDown();
  if (live == nullptr) handedOver.countDown();
  return true;
}

void ModelConnection::up(const TcpConnectionPtr& live) {
  ++ups;
  changeCallbacks(*live, [this](ConnectionCallbacks& own) {
    if (plan.highWaterMark > 0) {
      own.limits = {.highWaterMark = plan.highWaterMark, .lowWaterMark = plan.highWaterMark / 4};
    }
    if (plan.halfCloseCallback) {
      own.halfClose = [this](const auto& c) { called(On::halfClose, c); };
    }
  });
  mailbox = EventLoop::ofCurrentThread()->mailbox();
  late = !settle(live);
  called(On::up, live);
}

void ModelConnection::down(const TcpConnectionPtr& live) {
  ++downs;
  downAt = std::chrono::steady_clock::now();
  error = live->error();
  reason = live->closeReason();
  handedOver.countDown();
  actors[0]->expectRefusal(live, "in the \"down\" callback");
}

/// The first answer comes from the callback itself. If that is accepted, all that the worker sends
/// as long as it holds the connection is due.
void ModelConnection::handOver(const TcpConnectionPtr& live) {
  if (!plan.holdsAnswers || calls[static_cast<std::size_t>(On::message)] > 0) return;
  held = live->hold();
  heldInTime = actors[0]->send(Do::sendView, 10, live);
  handedOver.countDown();
}

void ModelConnection::use(std::string_view bytes) {
  while (!bytes.empty()) {
    const std::string_view wanted = inputPattern().substr(inputBytes % kInputPattern, bytes.size());
    if (!bytes.starts_with(wanted)) actors[0]->complain("wrong bytes have arrived");
    inputBytes += wanted.size();
    bytes.remove_prefix(wanted.size());
  }
}

/// A careful one takes a piece at a time, and leaves the rest once it is held back: by a slow
/// reader, or by its own stopRead().
void ModelConnection::message(const TcpConnectionPtr& live, Buffer& buffer) {
  if (closedByCallback) actors[0]->complain("message callback after close()");
  handOver(live);
  readingStopped = false;
  while (!buffer.empty() && !closedByCallback) {
    const std::size_t size =
        plan.careful ? std::min<std::size_t>(buffer.readableBytes(), 500) : buffer.readableBytes();
    use(buffer.view().substr(0, size));
    buffer.retrieve(size);
    called(On::message, live);
    const bool heldBack = readingStopped || live->outputBytes() >= highWaterMark;
    if (!plan.careful || !heldBack || buffer.empty()) continue;
    ++timesLeft;
    return;
  }
}

void ModelConnection::called(On callback, const TcpConnectionPtr& live) {
  const auto which = static_cast<std::size_t>(callback);
  if (ups != 1 || downs != 0) {
    actors[0]->complain(std::string(kCallbacks[which]) + " callback while it is not up");
  }
  const std::size_t call = calls[which]++;
  const Script& script = plan.callbacks[which];
  if (call < script.size()) actors[0]->perform(script[call], live);
}

/// What it has already, anew: perhaps from within the very callback that is replaced.
void ModelConnection::setCallbacks(const TcpConnectionPtr& live) {
  changeCallbacks(*live, [this](ConnectionCallbacks& own) {
    own.message = [this](const auto& c, Buffer& b, Timestamp) { message(c, b); };
    own.writeComplete = [this](const auto& c) { called(On::writeComplete, c); };
    own.highWaterMark = [this](const auto& c, auto) { called(On::highWater, c); };
    own.lowWaterMark = [this](const auto& c, auto) { called(On::lowWater, c); };
  });
}

void ModelConnection::work(std::size_t worker) {
  ModelActor& actor = *actors[worker];
  if (!settled.waitUntil(std::chrono::steady_clock::now() + patience())) {
    return actor.complain("the connection never came up");
  }
  if (connection == nullptr) return;
  if (plan.holdsAnswers && worker == 1) {
    if (!handedOver.waitUntil(std::chrono::steady_clock::now() + patience())) {
      actor.complain("neither a message nor an end");
    } else {
      actor.takeOver(std::move(held), heldInTime);
    }
  }
  actor.sleepAndPerform(plan.workers[worker - 1], connection);
  if (workersLeft.fetch_sub(1) > 1) return;
  // The last one sees to it that the connection can end.
  finishing = true;
  connection->startRead();
  if (plan.peerEndsIt()) return;
  actor.shutdown(connection);
  actor.expectRefusal(connection, "after the last shutdown()");
}

}  // namespace rung::testing
