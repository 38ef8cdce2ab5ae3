#include "rung/net/TcpConnection.h"

#include <sys/socket.h>

#include <memory>
#include <new>
#include <system_error>
#include <utility>

#include "rung/base/Guarded.h"
#include "rung/base/Logging.h"
#include "rung/net/EventLoop.h"
#include "rung/net/TcpConnectionCalls.h"

// How a connection comes up, and how it ends. Its input is in TcpConnectionReading.cc, its output
// in TcpConnectionSending.cc.

namespace rung {

namespace {

/// The kernel refuses to watch a socket, for want of memory or of watches: see epoll(7).
/// Each connection that this ends would be a line in the log, so only the first one is.
void reportRefusal(const std::system_error& e) {
  static std::atomic<bool> reported{false};
  if (!reported.exchange(true)) LOG_ERROR << "connections are closed unserved: " << e.what();
}

}  // namespace

TcpConnection::TcpConnection(std::shared_ptr<const ConnectionProfile> profile, std::uint64_t id,
                             Socket socket, const InetAddress& peer)
    : profile_(std::move(profile)),
      id_(id),
      socket_(std::move(socket)),
      peer_(peer),
      channel_(profile_->loop, socket_.fd()) {
  channel_.setReadCallback([this](Timestamp receiveTime) { handleRead(receiveTime); });
  channel_.setWriteCallback([this] { handleWrite(); });
  channel_.setCloseCallback([this] { handleHangUp(); });
  channel_.setErrorCallback([this] { handleError(); });
}

// May run on any thread, wherever the last reference goes: it touches nothing but its members.
TcpConnection::~TcpConnection() = default;

std::string TcpConnection::name() const {
  return profile_->serverName + "-" + peer_.toIpPort() + "#" + std::to_string(id_);
}

bool TcpConnection::connected() const {
  const State state = state_.load();
  return state == State::connected || state == State::disconnecting;
}

// Not of one that is down: nobody changes it any more.
void TcpConnection::assertInLoopThread(const char* what) const {
  if (inLoopThread() || state_.load() == State::disconnected) return;
  LOG_FATAL << what << " of " << name() << " called on a thread not its own";
}

/// In a catch block.
void TcpConnection::callbackThrew(const char* which) {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    endSoon(CloseReason::outOfMemory, ENOMEM);
  } catch (...) {
    abortOnException(std::string(which) + " callback of " + name());
  }
}

// ---- up and down ----

void TcpConnection::connectEstablished() {
  if (state_.load() != State::connecting) return;
  loop()->assertInLoopThread();
  const TcpConnectionPtr self = shared_from_this();
  channel_.tie(self);  // from here on the Channel keeps this object alive while it calls it
  moved();
  try {
    channel_.enableReading();
  } catch (const std::system_error& e) {
    reportRefusal(e);
    note(CloseReason::refused, e.code().value());
  } catch (const std::bad_alloc&) {
    note(CloseReason::outOfMemory, ENOMEM);
  }
  if (reason_.load() != CloseReason::none) {
    connectDestroyed();  // never was up, so no callback says that it is down
    if (profile_->closeCallback) profile_->closeCallback(self);
    return;
  }
  state_.store(State::connected);
  call("connection", current().connection);
}

void TcpConnection::connectDestroyed() {
  const TcpConnectionPtr self = shared_from_this();
  note(CloseReason::stopped, 0);
  const State before = state_.exchange(State::disconnected);
  channel_.remove();
  const bool wasUp = before == State::connected || before == State::disconnecting;
  // Without its loop there is no thread for callbacks, and what they refer to may be gone as well.
  const bool tell = wasUp && channel_.ownerLoop() != nullptr;
  if (tell) call("connection", current().connection);
  // Now, and not when the last TcpConnectionPtr goes: the peer must not wait for that.
  letGo();
}

void TcpConnection::note(CloseReason reason, int error) {
  if (reason_.load() != CloseReason::none) return;
  error_.store(static_cast<std::int16_t>(error));
  reason_.store(reason);
}

/// Every end of a connection that was up comes through here, but for the owner's own wish.
void TcpConnection::end() {
  if (!connected()) return;
  const TcpConnectionPtr self = shared_from_this();
  connectDestroyed();
  if (profile_->closeCallback) profile_->closeCallback(self);
}

/// Later, because the user may be in the middle of a callback that goes on to use the connection.
void TcpConnection::endSoon(CloseReason reason, int error) {
  note(reason, error);
  post([](TcpConnection& self) { self.end(); });
}

/// As endSoon(), when there is no memory even for a task. The hang-up is an event of the next
/// round, and finds both directions at their end.
void TcpConnection::giveUp() {
  note(CloseReason::outOfMemory, ENOMEM);
  stopSending();
  receiving_.ended = true;
  sending_.close();
  (void)::shutdown(channel_.fd(), SHUT_RDWR);  // of one that the peer has reset it fails, rightly
}

/// What waits to be sent goes nowhere any more, and no more is taken; reading goes on if wanted.
void TcpConnection::endOutput(CloseReason reason, int error) {
  note(reason, error);
  stopSending();
  dropOutput();
  watch(&Channel::disableWriting);
  if (sending_.fellTo(0)) backBelowHighWater();
  offerSoon();
}

bool TcpConnection::watch(void (Channel::*change)()) {
  try {
    (channel_.*change)();
    return true;
  } catch (const std::system_error& e) {
    reportRefusal(e);
    endSoon(CloseReason::refused, e.code().value());
  } catch (const std::bad_alloc&) {
    endSoon(CloseReason::outOfMemory, ENOMEM);
  }
  return false;
}

void TcpConnection::stopSending() {
  State expected = State::connected;
  state_.compare_exchange_strong(expected, State::disconnecting);
}

void TcpConnection::shutdown() {
  if (state_.load() != State::connected) return;
  if (inLoopThread()) {
    stopSending();
    return advance(Caller::user);
  }
  post([](TcpConnection& self) {
    self.stopSending();
    self.advance(Caller::loop);
  });
  stopSending();  // at once, for this thread; after the task, for which there may be no memory
}

void TcpConnection::cut(CloseReason reason) {
  post([reason](TcpConnection& self) {
    self.note(reason, 0);
    self.end();
  });
  stopSending();
}

void TcpConnection::forceClose() {
  if (connected()) cut(CloseReason::forced);
}

void TcpConnection::reset() {
  if (!connected()) return;
  post([](TcpConnection& self) {
    (void)self.socket_.setResetOnClose();
    self.note(CloseReason::forced, 0);
    self.end();
  });
  stopSending();
}

void TcpConnection::closeWithin(std::chrono::steady_clock::duration linger) {
  if (!connected()) return;
  if (inLoopThread()) return closeInLoop(linger);
  post([linger](TcpConnection& self) { self.closeInLoop(linger); });
  stopSending();
}

void TcpConnection::closeInLoop(std::chrono::steady_clock::duration linger) {
  if (!connected()) return;
  stopSending();
  receiving_.discards = true;
  receiving_.stuck = false;
  // A socket that is closed with input unread sends a reset, which may overtake the last bytes.
  updateReading();
  try {
    if (profile_->lingerCallback) profile_->lingerCallback(shared_from_this(), linger);
  } catch (const std::bad_alloc&) {  // nobody would cut it
    return endSoon(CloseReason::outOfMemory, ENOMEM);
  }
  advance(Caller::user);
}

/// Whether somebody waits for bytes of ours, or may still want to send some.
bool TcpConnection::owes() const {
  return sending_.unsentBytes() > 0 || sending_.held() || receiving_.stuck;
}

/// Goes as far towards the end as is right by now: the end of the sending side if nothing is owed
/// any more, the FIN when all is sent, and the end when the peer has sent its own.
void TcpConnection::advance(Caller caller) {
  if (endWhenFree_ && !owes()) stopSending();
  if (state_.load() != State::disconnecting) return;
  // What another thread sent before it saw this state is counted, and comes here when it is out.
  if (!sending_.closed() && sending_.unsentBytes() > 0) return;
  if (!receiving_.ended) {
    if (sending_.closed()) return;
    sending_.close();
    socket_.shutdownWrite();
  } else if (!receiving_.stuck) {  // what a callback has left is offered before
    note(sending_.closed() ? CloseReason::local : CloseReason::peer, 0);
    if (caller == Caller::loop) return end();
    post([](TcpConnection& self) { self.end(); });
  }
}

void TcpConnection::drain() {
  if (!connected()) return;
  if (current().drain) return call("drain", current().drain);
  // Requests that are here already get their answer.
  if (channel_.isReading()) handleRead(Timestamp::now());
  endWhenFree_ = true;
  advance(Caller::loop);
}

// ---- settings ----

InetAddress TcpConnection::localAddress() const {
  assertInLoopThread("localAddress()");
  return socket_.localAddress();
}

bool TcpConnection::setTcpNoDelay(bool on) {
  assertInLoopThread("setTcpNoDelay()");
  return socket_.setTcpNoDelay(on);
}

TcpConnection::Extras& TcpConnection::extras() {
  if (extras_ == nullptr) {
    // Those of the server, which share the life of the profile.
    extras_ = std::make_unique<Extras>(Extras{{profile_, &profile_->callbacks}, {}});
  }
  return *extras_;
}

std::any& TcpConnection::context() {
  assertInLoopThread("context()");
  return extras().context;
}

void TcpConnection::setCallbacks(std::shared_ptr<const ConnectionCallbacks> callbacks) {
  assertInLoopThread("setCallbacks()");
  if (state_.load() == State::disconnected) return;
  if (callbacks == nullptr) callbacks = {profile_, &profile_->callbacks};
  // The old set may hold the callback that is running: it goes when that has returned. First the
  // task, should there be no memory for it.
  const auto kept = std::make_shared<std::shared_ptr<const ConnectionCallbacks>>();
  (void)profile_->mailbox->post([kept] {});
  *kept = std::exchange(extras().callbacks, std::move(callbacks));
  if (sending_.fellTo(current().limits.lowWaterMark)) backBelowHighWater();
  updateReading();
  offerSoon();
}

}  // namespace rung
