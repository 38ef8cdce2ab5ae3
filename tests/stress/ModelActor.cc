// What one thread asks of a connection.

#include <chrono>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "tests/stress/ModelConnection.h"
#include "tests/support/ChangeCallbacks.h"

namespace rung::testing {

std::string ModelActor::name() const {
  return number_ == 0 ? "the callbacks" : "worker " + std::to_string(number_);
}

void ModelActor::complain(const std::string& what) {
  if (problem_.empty()) problem_ = what;
}

bool ModelActor::send(Do how, std::uint32_t size, const TcpConnectionPtr& connection) {
  const FrameId id{static_cast<std::uint16_t>(model_.number), number_, attempts_++};
  std::string frame = frameOf(id, size);
  bool sent = false;
  if (how == Do::sendView) {
    sent = connection->send(std::string_view(frame));
  } else if (how == Do::sendString) {
    sent = connection->send(std::move(frame));
  } else {
    Buffer buffer;
    buffer.append(frame);
    sent = connection->send(buffer);
  }
  if (sent) {
    accepted_.push_back(id.number);
    acceptedBytes_ += frameBytes(size);
  } else if (due_) {
    ++refusedThoughDue_;
  }
  if (sent && hasShutDown_) complain("it has ended the sending side, and send() returned true");
  return sent;
}

void ModelActor::expectRefusal(const TcpConnectionPtr& connection, const char* when) {
  if (send(Do::sendString, 1, connection)) complain(std::string("send() returned true ") + when);
}

void ModelActor::shutdown(const TcpConnectionPtr& connection) {
  connection->shutdown();
  hasShutDown_ = true;
}

void ModelActor::close(std::chrono::microseconds linger, const TcpConnectionPtr& connection) {
  model_.closed = true;
  connection->close(linger);
  hasShutDown_ = true;
  if (number_ == 0) model_.closedByCallback = true;
}

/// For a worker until it releases it; for a callback until the next round of the loop.
void ModelActor::hold(const TcpConnectionPtr& connection) {
  if (number_ > 0) {
    hold_ = connection->hold();
  } else {
    (void)model_.mailbox->post([held = connection->hold()] {});
  }
}

/// What only the loop's thread may do; the loop may be gone.
void ModelActor::setSomething(const Step& step, const TcpConnectionPtr& connection) {
  const auto set = [&model = model_, step, connection] {
    if (step.what == Do::setCallbacks) return model.setCallbacks(connection);
    model.highWaterMark = 1 + step.size;
    changeCallbacks(*connection, [&](ConnectionCallbacks& own) {
      own.limits = {.highWaterMark = 1 + step.size, .lowWaterMark = step.size / 2};
    });
  };
  if (number_ == 0) return set();
  (void)model_.mailbox->post(set);
}

void ModelActor::perform(const Step& step, const TcpConnectionPtr& connection) {
  switch (step.what) {
    case Do::sendView:
    case Do::sendString:
    case Do::sendBuffer:
      (void)send(step.what, step.size, connection);
      return;
    case Do::shutdown:
      return shutdown(connection);
    case Do::close:
      return close(patience() * 3, connection);
    case Do::closeSoon:
      model_.closedSoon = true;
      return close(std::chrono::microseconds(step.size % 1000), connection);
    case Do::forceClose:
      model_.cut = true;
      connection->forceClose();
      hasShutDown_ = true;
      return;
    case Do::hold:
      return hold(connection);
    case Do::release:
      return hold_.release();
    case Do::stopRead:
      if (model_.finishing) return;
      if (number_ == 0) model_.readingStopped = true;
      return connection->stopRead();
    case Do::startRead:
      if (number_ == 0) model_.readingStopped = false;
      return connection->startRead();
    case Do::setCallbacks:
    case Do::setLimits:
      return setSomething(step, connection);
    case Do::look:
      if (connection->connected() && connection->name().empty()) complain("no name");
      if (connection->outputBytes() > std::size_t{1} << 40) complain("outputBytes() below 0");
      (void)connection->closeReason();
      (void)connection->error();
      return;
    case Do::spin: {
      const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(step.size);
      while (std::chrono::steady_clock::now() < end) {
      }
    }
  }
}

void ModelActor::sleepAndPerform(const Script& script, const TcpConnectionPtr& connection) {
  for (const Step& step : script) {
    if (step.pauseMicros > 0) {
      std::this_thread::sleep_for(std::chrono::microseconds(step.pauseMicros));
    }
    perform(step, connection);
  }
  due_ = false;
  hold_.release();
}

}  // namespace rung::testing
