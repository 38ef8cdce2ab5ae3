#include "rung/net/ConnectAttempt.h"

#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <new>
#include <utility>

#include "rung/net/EventLoop.h"

namespace rung {

namespace {

/// A Unix-domain socket whose server does not accept fast enough has no queue to wait in.
constexpr std::chrono::milliseconds kBusyServer{10};

}  // namespace

void ConnectAttempt::start(const std::function<void(int fd)>& prepare,
                           const std::shared_ptr<void>& owner) {
  state_ = State::underWay;
  try {
    socket_ = Socket::create(std::visit([](const auto& a) { return a.family(); }, address_));
    if (prepare) prepare(socket_.fd());
    connect(owner);
  } catch (const std::system_error& e) {
    fail(e.code());
  } catch (const std::bad_alloc&) {
    fail(errnoCode(ENOMEM));
  }
}

/// Also a connection that is there at once, as in a Unix domain, is an event of the next round: the
/// owner hears of all in the same way.
void ConnectAttempt::connect(const std::shared_ptr<void>& owner) {
  step_ = ConnectStep::connect;
  const auto call = [this](const auto& a) { return ::connect(socket_.fd(), a.data(), a.length()); };
  // EINTR: it goes on in the background, as with EINPROGRESS.
  if (std::visit(call, address_) != 0 && errno != EINPROGRESS && errno != EINTR) {
    if (errno == EAGAIN && std::holds_alternative<UnixAddress>(address_)) return tryLater(owner);
    return fail(errnoCode(errno));
  }
  step_ = ConnectStep::watch;
  channel_ = std::make_unique<Channel>(loop_, socket_.fd());
  channel_->tie(owner);
  channel_->setWriteCallback([this] { happened(); });
  channel_->setCloseCallback([this] { happened(); });
  channel_->enableWriting();
}

void ConnectAttempt::tryLater(const std::shared_ptr<void>& owner) {
  again_ = loop_->runAfter(kBusyServer, [this, weak = std::weak_ptr(owner)] {
    const auto self = weak.lock();
    if (self == nullptr || state_ != State::underWay) return;
    try {
      connect(self);
    } catch (const std::system_error& e) {
      fail(e.code());
    } catch (const std::bad_alloc&) {
      fail(errnoCode(ENOMEM));
    }
    if (state_ == State::failed) ended_(*this);
  });
}

/// The kernel has an answer: the socket is writable, or broken. SO_ERROR tells which, once: the
/// call clears it.
void ConnectAttempt::happened() {
  if (state_ != State::underWay) return;
  if (channel_->ownerLoop() == nullptr) {
    close();
    state_ = State::loopGone;
    return ended_(*this);
  }
  const int error = socket_.takeError();
  channel_->remove();
  step_ = ConnectStep::connect;
  if (error != 0) {
    fail(errnoCode(error));
  } else if (std::holds_alternative<InetAddress>(address_) && socket_.localAddress() == peer()) {
    selfConnected_ = true;
    // Or TIME_WAIT would keep the port from the server for a minute.
    (void)socket_.setResetOnClose();
    fail(errnoCode(ECONNREFUSED));
  } else {
    state_ = State::connected;
  }
  ended_(*this);
}

void ConnectAttempt::fail(std::error_code error) {
  close();
  state_ = State::failed;
  error_ = error;
}

void ConnectAttempt::close() {
  if (channel_ != nullptr) channel_->remove();
  socket_.close();
  // A loop that is gone has taken the timer along.
  if (std::exchange(state_, State::fresh) == State::underWay && again_ &&
      EventLoop::ofCurrentThread() == loop_) {
    loop_->cancel(again_);
  }
}

InetAddress ConnectAttempt::peer() const {
  if (const auto* address = std::get_if<InetAddress>(&address_)) return *address;
  sockaddr_storage storage{};
  storage.ss_family = AF_UNIX;
  return InetAddress(storage);
}

std::string ConnectAttempt::text() const {
  if (const auto* address = std::get_if<InetAddress>(&address_)) return address->toIpPort();
  return std::get<UnixAddress>(address_).toText();
}

}  // namespace rung
