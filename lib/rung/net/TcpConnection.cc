#include "rung/net/TcpConnection.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <memory>
#include <new>
#include <system_error>
#include <utility>

#include "rung/base/Guarded.h"
#include "rung/base/Logging.h"
#include "rung/net/EventLoop.h"
#include "rung/net/Mailbox.h"

namespace rung {

namespace {

/// The kernel refuses to watch a socket, for want of memory or of watches: see epoll(7).
/// Each connection that this ends would be a line in the log, so only the first one is.
void reportRefusal(const std::system_error& e) {
  static std::atomic<bool> reported{false};
  if (!reported.exchange(true)) LOG_ERROR << "connections are closed unserved: " << e.what();
}

bool wouldBlock(int error) {
  return error == EAGAIN || error == EINTR;
}

/// Whether the other side has broken it off, rather than this one failed.
bool isReset(int error) {
  return error == ECONNRESET || error == EPIPE;
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

inline bool TcpConnection::inLoopThread() const {
  return profile_->mailbox->isInLoopThread();
}

// Not of one that is down: nobody changes it any more.
void TcpConnection::assertInLoopThread(const char* what) const {
  if (inLoopThread() || state_.load() == State::disconnected) return;
  LOG_FATAL << what << " of " << name() << " called on a thread not its own";
}

template <class Work>
void TcpConnection::post(Work work) {
  try {
    (void)profile_->mailbox->post(
        [self = shared_from_this(), work = std::move(work)]() mutable { work(*self); });
  } catch (const std::bad_alloc&) {
    if (!inLoopThread()) throw;
    giveUp();
  }
}

// Inline, as it is in the way of every message.
template <class Callback, class... Arguments>
inline void TcpConnection::call(const char* which, const Callback& callback,
                                Arguments&&... arguments) {
  if (!callback) return;
  try {
    callback(shared_from_this(), std::forward<Arguments>(arguments)...);
  } catch (...) {
    callbackThrew(which);
  }
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
  // Closed now, and not when the last TcpConnectionPtr goes: the peer must not wait for that.
  socket_.close();
  sending_.drop();
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
  sending_.drop();
  watch(&Channel::disableWriting);
  if (sending_.fellTo(0)) backBelowHighWater();
  offerSoon();
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

TcpConnection::Hold TcpConnection::hold() {
  sending_.hold();
  return Hold(shared_from_this());
}

void TcpConnection::Hold::release() noexcept {
  if (const TcpConnectionPtr held = std::exchange(connection_, nullptr)) held->releaseHold();
}

/// Through the Mailbox: behind what this thread has sent.
void TcpConnection::releaseHold() noexcept {
  if (!sending_.release()) return;
  try {
    post([](TcpConnection& self) {
      self.moved();  // from here on it may be idle
      self.advance(Caller::loop);
    });
  } catch (const std::bad_alloc&) {  // the next event of this connection finds it free
  }
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

// ---- reading ----

void TcpConnection::handleRead(Timestamp receiveTime) {
  if (receiving_.stuck) offerWhatIsLeft();
  if (!channel_.isReading()) return;  // more is not wanted, after all
  IoResult result;
  try {
    result = receiving_.discards ? receiving_.discardFrom(channel_.fd()) : readAndTell(receiveTime);
  } catch (const std::bad_alloc&) {
    receiving_.drop();
    result.error = ENOMEM;
  }
  if (result.error == 0 && result.bytes > 0) return checkInputLimit();
  // The peer's FIN, our bytes, and then its RST: they are lost, though the read finds an orderly
  // end of file.
  if (result.error == 0 && channel_.hadError()) result.error = socket_.takeError();
  if (result.error != 0) return readFailed(result.error);
  handleEndOfStream();
}

/// One read, and the message callback if it brought anything.
IoResult TcpConnection::readAndTell(Timestamp receiveTime) {
  const IoResult result = receiving_.readFrom(channel_.fd());
  if (result.bytes > 0) {
    moved();
    tellMessage(receiveTime);
  }
  if (receiving_.stuck || receiving_.bytes() > 0) receiving_.keep(!mayAnswer());
  receiving_.giveBack();
  return result;
}

void TcpConnection::readFailed(int error) {
  // EAGAIN without an end of the wait: an urgent byte, or a spurious wake-up. Not worth a line.
  if (wouldBlock(error)) return;
  CloseReason reason = CloseReason::readFailed;
  if (isReset(error)) reason = CloseReason::reset;
  if (error == ENOMEM) reason = CloseReason::outOfMemory;
  note(reason, error);
  end();
}

inline void TcpConnection::tellMessage(Timestamp receiveTime) {
  Buffer& buffer = receiving_.buffer();
  const MessageCallback& callback = current().message;
  if (!callback) return buffer.retrieveAll();
  call("message", callback, buffer, receiveTime);
}

/// Whether a message callback has no reason to leave something that is whole.
bool TcpConnection::mayAnswer() const {
  const std::size_t unsent = sending_.unsentBytes();
  // What a write that has failed leaves stays counted for ever.
  const bool goesOut = unsent > 0 && reason_.load() == CloseReason::none;
  const bool tooMuch = goesOut && unsent >= current().limits.highWaterMark;
  return receiving_.wanted && !sending_.aboveHighWater() && !tooMuch;
}

/// A callback that could not go on has left something: a slow reader or the user held it back, and
/// does no longer. No event of the socket would tell it.
void TcpConnection::offerWhatIsLeft() {
  if (!receiving_.stuck || !mayAnswer()) return;
  receiving_.stuck = false;
  if (!connected()) return;
  if (!receiving_.discards && receiving_.bytes() > 0) {
    tellMessage(Timestamp::now());
    try {
      receiving_.keep(!mayAnswer());
    } catch (const std::bad_alloc&) {
      return readFailed(ENOMEM);
    }
    checkInputLimit();
  }
  receiving_.giveBack();
  advance(Caller::loop);
}

void TcpConnection::offerSoon() {
  if (receiving_.stuck && mayAnswer()) post([](TcpConnection& self) { self.offerWhatIsLeft(); });
}

void TcpConnection::checkInputLimit() {
  if (receiving_.bytes() <= current().limits.maxInput || !connected()) return;
  LOG_DEBUG << name() << " left " << receiving_.bytes() << " bytes unread, closing";
  note(CloseReason::inputLimit, EMSGSIZE);
  end();
}

/// The peer has sent its FIN. It may still read, and then it gets all that it is owed.
void TcpConnection::handleEndOfStream() {
  receiving_.ended = true;
  updateReading();
  if (current().halfClose && state_.load() == State::connected) {
    return call("half-close", current().halfClose);
  }
  endWhenFree_ = true;
  advance(Caller::loop);
}

/// HUP with no read wanted, and so while output waits or reading is stopped: both directions are
/// down. Also when the loop was destroyed before this connection.
void TcpConnection::handleHangUp() {
  if (channel_.ownerLoop() == nullptr) {
    note(CloseReason::loopGone, 0);
    return end();
  }
  if (reason_.load() != CloseReason::none) return end();  // a write has failed before
  const int error = socket_.takeError();
  if (error == 0 && !receiving_.ended) {
    // No error, so both sides have sent their FIN, or somebody else who has the socket has shut it
    // down. There may be bytes in the kernel, which are read now, if only the slow reader was in
    // the way, or when startRead() comes, and so may there be what a callback has left; until then
    // the kernel would go on reporting this.
    if (!sending_.closed()) endOutput(CloseReason::reset, EPIPE);
    if (channel_.isReading()) return;
    char byte;
    if (!receiving_.stuck && ::recv(channel_.fd(), &byte, 1, MSG_PEEK) == 0) {
      return handleEndOfStream();
    }
    watch(&Channel::disableAll);
    return;
  }
  // Both FINs, and a callback has left something that is still to be offered.
  if (error == 0 && sending_.closed()) return (void)watch(&Channel::disableAll);
  note(CloseReason::reset, error != 0 ? error : EPIPE);
  end();
}

/// An error that no read tells of, because none is wanted at the moment.
void TcpConnection::handleError() {
  readFailed(socket_.takeError());
}

void TcpConnection::stopRead() {
  if (!inLoopThread()) return post([](TcpConnection& self) { self.stopRead(); });
  receiving_.wanted = false;
  updateReading();
}

void TcpConnection::startRead() {
  if (!inLoopThread()) return post([](TcpConnection& self) { self.startRead(); });
  receiving_.wanted = true;
  updateReading();
  offerSoon();
}

void TcpConnection::updateReading() {
  if (!connected()) return;
  const bool heldBack = sending_.aboveHighWater() && current().limits.pauseReading;
  const bool wanted = receiving_.discards || (receiving_.wanted && !heldBack);
  const bool read = wanted && !receiving_.ended;
  if (read == channel_.isReading()) return;
  // Not all interest goes: a reset is to be noticed meanwhile.
  watch(read ? &Channel::enableReading : &Channel::pauseReading);
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

// ---- sending ----

bool TcpConnection::send(std::string_view bytes) {
  if (inLoopThread()) return sendHere(bytes);
  return sendFromElsewhere(std::string(bytes));
}

bool TcpConnection::send(std::string&& bytes) {
  if (inLoopThread()) return sendHere(std::move(bytes));
  return sendFromElsewhere(std::move(bytes));
}

bool TcpConnection::send(Buffer& buffer) {
  const bool sent =
      inLoopThread() ? sendHere(buffer.view()) : sendFromElsewhere(std::string(buffer.view()));
  buffer.retrieveAll();  // not before: the other may throw
  return sent;
}

template <class Bytes>
inline bool TcpConnection::sendHere(Bytes&& bytes) {
  // A loop that is gone has ended the connection.
  if (state_.load() != State::connected) return false;
  return write(std::forward<Bytes>(bytes), 0);
}

bool TcpConnection::sendFromElsewhere(std::string&& bytes) {
  if (state_.load() != State::connected) return false;
  const std::size_t size = bytes.size();
  if (size == 0) return true;
  sending_.promise(size);
  try {
    auto arrive = [self = shared_from_this(), bytes = std::move(bytes)]() mutable {
      self->sendPromised(std::move(bytes));
    };
    if (state_.load() == State::connected && profile_->mailbox->post(std::move(arrive))) {
      return true;
    }
  } catch (...) {
    takeBack(size);
    throw;
  }
  takeBack(size);
  return false;
}

// What was accepted before this thread, or another one, called shutdown() is sent as well.
void TcpConnection::sendPromised(std::string&& bytes) {
  if (!connected() || sending_.closed()) return;  // lost, and so it stays counted
  const std::size_t size = bytes.size();
  (void)write(std::move(bytes), size);
  offerSoon();
  advance(Caller::loop);
}

/// Bytes of a send() that is refused after all. The loop may have put off the FIN for them, and a
/// message callback may have left input. So they stay counted until the loop comes to this task, or
/// drops it. If there is no memory for the task, the next event of the connection finds them gone.
class TcpConnection::Refused {
 public:
  Refused(TcpConnectionPtr connection, std::size_t bytes)
      : connection_(std::move(connection)), bytes_(bytes) {}
  Refused(Refused&&) noexcept = default;
  ~Refused() {
    if (connection_ != nullptr) connection_->sending_.withdraw(bytes_);
  }
  void operator()() {
    const TcpConnectionPtr connection = std::exchange(connection_, nullptr);
    connection->sending_.withdraw(bytes_);
    connection->offerSoon();
    connection->advance(Caller::loop);
  }

 private:
  TcpConnectionPtr connection_;
  std::size_t bytes_;
};

void TcpConnection::takeBack(std::size_t bytes) {
  Refused refused(shared_from_this(), bytes);
  if (connected()) (void)profile_->mailbox->post(std::move(refused));
}

/// `promised` of the bytes are counted already: all, or none. Inline, as keep() is not: most sends
/// need no more than this.
template <class Bytes>
inline bool TcpConnection::write(Bytes&& bytes, std::size_t promised) {
  const std::size_t size = bytes.size();
  if (size == 0) return true;
  std::size_t taken = 0;
  if (sending_.idle()) {
    const ssize_t n = ::send(channel_.fd(), bytes.data(), size, MSG_NOSIGNAL);
    if (n < 0 && !wouldBlock(errno)) {
      writeFailed(errno);
      return false;
    }
    if (n > 0) {
      taken = static_cast<std::size_t>(n);
      moved();
    }
  }
  if (taken < size) return keep(std::forward<Bytes>(bytes), taken, promised);
  if (promised > 0) sending_.withdraw(promised);
  if (current().writeComplete) tellWriteComplete();
  return true;
}

template <class Bytes>
bool TcpConnection::keep(Bytes&& bytes, std::size_t taken, std::size_t promised) {
  try {
    sending_.keep(std::forward<Bytes>(bytes), taken, promised);
  } catch (const std::bad_alloc&) {  // a part of them may be out, so the stream ends here
    endOutput(CloseReason::outOfMemory, ENOMEM);
    endSoon(CloseReason::outOfMemory, ENOMEM);
    return false;
  }
  if (watch(&Channel::enableWriting) && sending_.roseTo(current().limits.highWaterMark)) {
    updateReading();
    tellWaterMark("high-water", &ConnectionCallbacks::highWaterMark);
  }
  return true;
}

void TcpConnection::handleWrite() {
  const IoResult result = sending_.offer(channel_.fd());
  if (result.error != 0) {
    if (!wouldBlock(result.error)) writeFailed(result.error);
    return;
  }
  moved();
  if (sending_.fellTo(current().limits.lowWaterMark)) backBelowHighWater();
  offerSoon();
  if (!sending_.idle() || !connected() || !watch(&Channel::disableWriting)) return;
  call("write-complete", current().writeComplete);
  advance(Caller::loop);
}

void TcpConnection::backBelowHighWater() {
  updateReading();
  tellWaterMark("low-water", &ConnectionCallbacks::lowWaterMark);
}

/// Later, both of them: the user is in the middle of a send(), and the low mark may be reached in
/// the very event in which the high one was; who pauses at one and resumes at the other needs them
/// in this order.
void TcpConnection::tellWaterMark(const char* which,
                                  WaterMarkCallback ConnectionCallbacks::*callback) {
  if (!(current().*callback)) return;
  post([which, callback, bytes = sending_.waitingBytes()](TcpConnection& self) {
    if (self.connected()) self.call(which, self.current().*callback, bytes);
  });
}

/// Later: a callback that sends again, and completes again, must not nest without end. Until it has
/// run, the sending side stays open for what it may send.
void TcpConnection::tellWriteComplete() {
  post([hold = hold()](TcpConnection& self) {
    if (self.connected()) self.call("write-complete", self.current().writeComplete);
  });
}

/// The peer reads no more (EPIPE, ECONNRESET). What it has sent before may still be in the kernel,
/// so reading goes on to the end; where nothing is read, this is the end.
void TcpConnection::writeFailed(int error) {
  const CloseReason reason = isReset(error) ? CloseReason::reset : CloseReason::writeFailed;
  endOutput(reason, error);
  // Any other error is not the peer's (ENOBUFS, ENOMEM): it is alive, and would wait for ever.
  if (!isReset(error) || !channel_.isReading()) endSoon(reason, error);
}

// ---- settings ----

InetAddress TcpConnection::localAddress() const {
  assertInLoopThread("localAddress()");
  return socket_.localAddress();
}

bool TcpConnection::isReading() const {
  assertInLoopThread("isReading()");
  return channel_.isReading();
}

bool TcpConnection::setTcpNoDelay(bool on) {
  assertInLoopThread("setTcpNoDelay()");
  return socket_.setTcpNoDelay(on);
}

Buffer& TcpConnection::inputBuffer() {
  assertInLoopThread("inputBuffer()");
  return receiving_.buffer();
}

int TcpConnection::unacknowledgedBytes() const {
  int bytes = 0;
  return ::ioctl(socket_.fd(), SIOCOUTQ, &bytes) == 0 ? bytes : 0;
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
