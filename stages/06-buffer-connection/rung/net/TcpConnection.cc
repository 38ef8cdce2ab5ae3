#include "rung/net/TcpConnection.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <new>
#include <system_error>
#include <utility>

#include "rung/base/Guarded.h"
#include "rung/base/Logging.h"
#include "rung/net/EventLoop.h"
#include "rung/net/Mailbox.h"

namespace rung {

namespace {

/// All connections of a thread read here, one after the other. A message that is not whole moves
/// into memory of its connection; so an idle connection needs none.
constinit thread_local char readBlock[64 << 10];

/// The kernel refuses to watch a socket, for want of memory or of watches: see epoll(7).
/// Each connection that this ends would be a line in the log, so only the first one is.
void reportRefusal(const std::system_error& e) {
  static std::atomic<bool> reported{false};
  if (!reported.exchange(true)) LOG_ERROR << "connections are closed unserved: " << e.what();
}

bool wouldBlock(int error) {
  return error == EAGAIN || error == EINTR;
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
  // HUP with nothing to read. Also when the loop was destroyed before this connection.
  channel_.setCloseCallback([this] { end(socket_.takeError()); });
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
    // Without memory for a task: the hang-up is an event of the next round.
    error_.store(ENOMEM);
    (void)::shutdown(channel_.fd(), SHUT_RDWR);
  }
}

// Inline, as it is in the way of every message.
template <class Callback, class... Arguments>
inline void TcpConnection::call(const char* which, const Callback& callback,
                                Arguments&&... arguments) {
  if (!callback) return;
  try {
    callback(shared_from_this(), std::forward<Arguments>(arguments)...);
  } catch (const std::bad_alloc&) {
    endSoon(ENOMEM);
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
    error_.store(e.code().value());
  } catch (const std::bad_alloc&) {
    error_.store(ENOMEM);
  }
  if (error_.load() != 0) {
    connectDestroyed();  // never was up, so no callback says that it is down
    if (profile_->closeCallback) profile_->closeCallback(self);
    return;
  }
  state_.store(State::connected);
  call("connection", profile_->callbacks.connection);
}

void TcpConnection::connectDestroyed() {
  const TcpConnectionPtr self = shared_from_this();
  const State before = state_.exchange(State::disconnected);
  channel_.remove();
  const bool wasUp = before == State::connected || before == State::disconnecting;
  // Without its loop there is no thread for callbacks, and what they refer to may be gone as well.
  const bool tell = wasUp && channel_.ownerLoop() != nullptr;
  if (tell) call("connection", profile_->callbacks.connection);
  // Closed now, and not when the last TcpConnectionPtr goes: the peer must not wait for that.
  socket_.close();
}

/// Every end of a connection that was up comes through here, but for the owner's own wish.
void TcpConnection::end(int error) {
  if (!connected()) return;
  const TcpConnectionPtr self = shared_from_this();
  if (error_.load() == 0) error_.store(error);
  connectDestroyed();
  if (profile_->closeCallback) profile_->closeCallback(self);
}

/// Later, because the user may be in the middle of a callback that goes on to use the connection.
void TcpConnection::endSoon(int error) {
  stopSending();
  post([error](TcpConnection& self) { self.end(error); });
}

void TcpConnection::stopSending() {
  State expected = State::connected;
  state_.compare_exchange_strong(expected, State::disconnecting);
}

void TcpConnection::shutdown() {
  if (state_.load() != State::connected) return;
  if (inLoopThread()) {
    stopSending();
    return finish();
  }
  // Through the Mailbox: behind what this thread has sent.
  post([](TcpConnection& self) {
    self.stopSending();
    self.finish();
  });
  stopSending();  // at once, for this thread; after the task, for which there may be no memory
}

/// The FIN, as soon as all is sent.
void TcpConnection::finish() {
  finWanted_ = true;
  if (!connected() || finSent_ || !output_.empty()) return;
  finSent_ = true;
  socket_.shutdownWrite();
}

void TcpConnection::forceClose() {
  if (!connected()) return;
  post([](TcpConnection& self) { self.end(0); });
  stopSending();
}

// ---- reading ----

void TcpConnection::handleRead(Timestamp receiveTime) {
  IoResult result;
  try {
    result = input_.readFd(channel_.fd(), readBlock);
    if (result.bytes > 0) {
      moved();
      const MessageCallback& callback = profile_->callbacks.message;
      if (!callback) input_.retrieveAll();
      call("message", callback, input_, receiveTime);
    }
    input_.settle();
  } catch (const std::bad_alloc&) {
    input_ = Buffer();  // it may stand on the block that all share
    result.error = ENOMEM;
  }
  if (result.error == 0 && result.bytes > 0) return;
  // EAGAIN without an end of the wait: an urgent byte, or a spurious wake-up.
  if (!wouldBlock(result.error)) end(result.error);
}

bool TcpConnection::watch(void (Channel::*change)()) {
  try {
    (channel_.*change)();
    return true;
  } catch (const std::system_error& e) {
    reportRefusal(e);
    endSoon(e.code().value());
  } catch (const std::bad_alloc&) {
    endSoon(ENOMEM);
  }
  return false;
}

// ---- sending ----

bool TcpConnection::send(std::string_view bytes) {
  if (!inLoopThread()) return sendFromElsewhere(std::string(bytes));
  return state_.load() == State::connected && sendInLoop(bytes);
}

bool TcpConnection::send(std::string&& bytes) {
  if (!inLoopThread()) return sendFromElsewhere(std::move(bytes));
  return state_.load() == State::connected && sendInLoop(std::move(bytes));
}

bool TcpConnection::send(Buffer& buffer) {
  const bool sent = send(buffer.view());
  buffer.retrieveAll();  // not before: the other may throw
  return sent;
}

bool TcpConnection::sendFromElsewhere(std::string&& bytes) {
  if (state_.load() != State::connected) return false;
  return profile_->mailbox->post([self = shared_from_this(), bytes = std::move(bytes)]() mutable {
    (void)self->sendInLoop(std::move(bytes));
  });
}

/// What the kernel does not take at once waits, and then the socket is watched for room. What comes
/// from another thread is sent also if that thread has called shutdown() behind it.
template <class Bytes>
bool TcpConnection::sendInLoop(Bytes&& bytes) {
  if (!connected() || finSent_) return false;
  std::size_t taken = 0;
  if (output_.empty() && !bytes.empty()) {
    const ssize_t n = ::send(channel_.fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && !wouldBlock(errno)) {
      endSoon(errno);
      return false;
    }
    if (n > 0) {
      taken = static_cast<std::size_t>(n);
      moved();
    }
  }
  if (taken == bytes.size()) {
    // Later: a callback that sends again, and completes again, must not nest without end.
    if (profile_->callbacks.writeComplete && taken > 0) {
      post([](TcpConnection& self) {
        if (self.connected()) self.call("write-complete", self.profile_->callbacks.writeComplete);
      });
    }
    return true;
  }
  try {
    if constexpr (std::is_rvalue_reference_v<Bytes&&>) {
      output_.append(std::move(bytes), taken);
    } else {
      output_.append(bytes.substr(taken));
    }
  } catch (const std::bad_alloc&) {  // a part of them may be out, so the stream ends here
    endSoon(ENOMEM);
    return false;
  }
  (void)watch(&Channel::enableWriting);
  return true;
}

void TcpConnection::handleWrite() {
  const IoResult result = output_.writeTo(channel_.fd());
  if (result.error != 0) {
    if (!wouldBlock(result.error)) end(result.error);
    return;
  }
  moved();
  if (!output_.empty() || !watch(&Channel::disableWriting)) return;
  call("write-complete", profile_->callbacks.writeComplete);
  if (finWanted_) finish();
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

int TcpConnection::unacknowledgedBytes() const {
  int bytes = 0;
  return ::ioctl(socket_.fd(), SIOCOUTQ, &bytes) == 0 ? bytes : 0;
}

}  // namespace rung
