#include "rung/net/TcpConnection.h"

#include <sys/socket.h>

#include <cerrno>
#include <memory>
#include <span>
#include <system_error>
#include <type_traits>
#include <utility>

#include "rung/base/Logging.h"
#include "rung/net/EventLoop.h"
#include "rung/net/Mailbox.h"

namespace rung {

namespace {

/// Where a loop's connections read to, one after the other: see Buffer::readFd(). Large, since a
/// megabyte then takes two reads and not sixteen: half the processor time of an echo of 1 MiB
/// (tools/bench --only echo-1m). What small messages do not touch of it takes no memory. The bytes
/// that are read begin a cache line, behind the room for prepending: the kernel's copying is faster
/// then by some percent of all that an echo of 16 KiB takes (tools/bench --only echo-16k).
struct ReadBlock {
  static constexpr std::size_t kCacheLine = 64;
  static constexpr std::size_t kStart = kCacheLine - Buffer::kCheapPrepend;

  std::span<char> lend() { return std::span(bytes).subspan(kStart); }

  alignas(kCacheLine) char bytes[kStart + (std::size_t{512} << 10)];
};

/// One of each for a thread that runs a loop, made when first needed.
struct Reader {
  std::unique_ptr<ReadBlock> block = std::make_unique_for_overwrite<ReadBlock>();
  std::unique_ptr<Buffer> buffer;  // stands on the block; nullptr: its last borrower has kept it
};

Reader& readerOfThisThread() {
  thread_local Reader reader;
  return reader;
}

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
    : sharedProfile_(std::move(profile)),
      id_(id),
      socket_(std::move(socket)),
      peer_(peer),
      channel_(sharedProfile_->loop, socket_.fd()) {
  channel_.setReadCallback([this](Timestamp receiveTime) { handleRead(receiveTime); });
  channel_.setWriteCallback([this] { handleWrite(); });
  channel_.setCloseCallback([this] { handleHangUp(); });
  channel_.setErrorCallback([this] { handleError(); });
}

// May run on any thread, wherever the last reference goes: it touches nothing but its members.
TcpConnection::~TcpConnection() = default;

std::string TcpConnection::name() const {
  return sharedProfile_->serverName + "-" + peer_.toIpPort() + "#" + std::to_string(id_);
}

bool TcpConnection::connected() const {
  const State state = state_.load();
  return state == State::connected || state == State::disconnecting;
}

std::any& TcpConnection::context() {
  if (context_ == nullptr) context_ = std::make_unique<std::any>();
  return *context_;
}

bool TcpConnection::inLoopThread() const {
  return sharedProfile_->mailbox->isInLoopThread();
}

template <class Work>
void TcpConnection::post(Work work) {
  (void)sharedProfile_->mailbox->post(
      [self = shared_from_this(), work = std::move(work)]() mutable { work(*self); });
}

// ---- up and down ----

void TcpConnection::connectEstablished() {
  loop()->assertInLoopThread();
  const TcpConnectionPtr self = shared_from_this();
  // From here on the Channel keeps this object alive while it calls it.
  channel_.tie(self);
  try {
    channel_.enableReading();
  } catch (const std::system_error& e) {
    reportRefusal(e);
    error_ = e.code().value();
    connectDestroyed();  // never was up, so no callback says that it is down
    if (profile().closeCallback) profile().closeCallback(self);
    return;
  }
  state_.store(State::connected);
  if (profile().connectionCallback) profile().connectionCallback(self);
}

void TcpConnection::connectDestroyed() {
  const TcpConnectionPtr self = shared_from_this();
  const State before = state_.exchange(State::disconnected);
  channel_.remove();
  const bool wasUp = before == State::connected || before == State::disconnecting;
  // Without its loop there is no thread for callbacks, and what they refer to may be gone as well.
  const bool tell = wasUp && channel_.ownerLoop() != nullptr;
  if (tell && profile().connectionCallback) profile().connectionCallback(self);
  // Closed now, and not when the last TcpConnectionPtr goes: the peer must not wait for that.
  socket_.close();
  output_.clear();
}

/// Every end that is not the owner's own wish comes through here: end it, and tell the owner.
void TcpConnection::handleClose() {
  if (!connected()) return;
  const TcpConnectionPtr self = shared_from_this();
  connectDestroyed();
  if (profile().closeCallback) profile().closeCallback(self);
}

void TcpConnection::closeSoon() {
  // Later, because the user may be in the middle of a callback that goes on to use the connection.
  post([](TcpConnection& self) { self.handleClose(); });
}

void TcpConnection::forceClose() {
  if (connected()) closeSoon();
}

// ---- reading ----

void TcpConnection::handleRead(Timestamp receiveTime) {
  const IoResult result = readAndTell(receiveTime);
  if (result.error != 0) {
    // EAGAIN without an end of the wait: an urgent byte, or a spurious wake-up. Not worth a line.
    if (wouldBlock(result.error)) return;
    error_ = result.error;
    handleClose();
  } else if (result.bytes == 0) {
    handleEndOfStream();
  } else if (input_ != nullptr) {
    checkInputLimit();
  }
}

/// One read, and the message callback if it brought anything. A connection to which nothing is left
/// over from before borrows its thread's Buffer for that, and keeps it only if something is left
/// over now; the next one that reads then gets a new one.
IoResult TcpConnection::readAndTell(Timestamp receiveTime) {
  Reader& reader = readerOfThisThread();
  if (input_ == nullptr) input_.swap(reader.buffer);
  Buffer& input = inputBuffer();
  const IoResult result = input.readFd(channel_.fd(), reader.block->lend());
  if (result.bytes > 0) {
    if (const MessageCallback& callback = profile().messageCallback) {
      callback(shared_from_this(), input, receiveTime);
    } else {
      input.retrieveAll();
    }
  }
  input.settle();
  if (input.empty()) {
    input_.swap(reader.buffer);
    input_.reset();  // it had kept one, and meanwhile there is another: one is enough
  }
  return result;
}

Buffer& TcpConnection::inputBuffer() {
  if (input_ == nullptr) input_ = std::make_unique<Buffer>();
  return *input_;
}

void TcpConnection::checkInputLimit() {
  if (input_->readableBytes() <= profile().limits.maxInput || !connected()) return;
  LOG_DEBUG << name() << " left " << input_->readableBytes() << " bytes unread, closing";
  error_ = EMSGSIZE;
  handleClose();
}

/// The peer has sent its FIN. It may still read, and then it gets all that was sent before.
void TcpConnection::handleEndOfStream() {
  endOfStream_ = true;
  updateReading();
  if (profile().halfCloseCallback && state_.load() == State::connected) {
    profile().halfCloseCallback(shared_from_this());
    return;
  }
  State expected = State::connected;
  state_.compare_exchange_strong(expected, State::disconnecting);
  if (output_.empty()) handleClose();
}

/// HUP with no read wanted, and so while output waits: both directions are down.
void TcpConnection::handleHangUp() {
  const int error = socket_.takeError();
  // No error, so somebody else who has the socket has shut it down. There may be bytes in the
  // kernel, which are read now, if only the slow reader was in the way, or when startRead() comes.
  if (error == 0 && !endOfStream_) return endOutput(EPIPE);
  if (error_ == 0) error_ = error != 0 ? error : EPIPE;
  handleClose();
}

/// An error that no read tells of, because none is wanted at the moment.
void TcpConnection::handleError() {
  if (const int error = socket_.takeError(); error_ == 0) error_ = error;
  handleClose();
}

void TcpConnection::stopRead() {
  if (!inLoopThread()) return post([](TcpConnection& self) { self.stopRead(); });
  readWanted_ = false;
  updateReading();
}

void TcpConnection::startRead() {
  if (!inLoopThread()) return post([](TcpConnection& self) { self.startRead(); });
  readWanted_ = true;
  updateReading();
}

void TcpConnection::updateReading() {
  if (!connected()) return;
  const bool heldBack = aboveHighWater_ && profile().limits.pauseReading;
  const bool read = readWanted_ && !heldBack && !endOfStream_;
  watch(read ? &Channel::enableReading : &Channel::disableReading);
}

bool TcpConnection::watch(void (Channel::*change)()) {
  try {
    (channel_.*change)();
    return true;
  } catch (const std::system_error& e) {
    reportRefusal(e);
    error_ = e.code().value();
    closeSoon();
    return false;
  }
}

// ---- sending ----

bool TcpConnection::send(std::string_view bytes) {
  if (inLoopThread()) return sendHere(bytes);
  return send(std::string(bytes));
}

bool TcpConnection::send(std::string&& bytes) {
  if (inLoopThread()) return sendHere(std::move(bytes));
  if (state_.load() != State::connected) return false;
  return sharedProfile_->mailbox->post(
      [self = shared_from_this(), bytes = std::move(bytes)]() mutable {
        self->sendInLoop(std::move(bytes));
      });
}

bool TcpConnection::send(Buffer& buffer) {
  if (!inLoopThread()) return send(buffer.retrieveAllAsString());
  const bool sent = sendHere(buffer.view());
  buffer.retrieveAll();
  return sent;
}

template <class Bytes>
bool TcpConnection::sendHere(Bytes&& bytes) {
  // A loop that is gone has cut the Channel loose.
  if (state_.load() != State::connected || channel_.ownerLoop() == nullptr) return false;
  write(std::forward<Bytes>(bytes));
  return true;
}

// Also for what another thread sent before it, or this one, called shutdown().
void TcpConnection::sendInLoop(std::string&& bytes) {
  if (connected() && !writeClosed_) write(std::move(bytes));
}

template <class Bytes>
void TcpConnection::write(Bytes&& bytes) {
  if (bytes.empty()) return;
  std::size_t written = 0;
  if (output_.empty()) {
    const ssize_t n = ::send(channel_.fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && !wouldBlock(errno)) return writeFailed(errno);
    written = n < 0 ? 0 : static_cast<std::size_t>(n);
  }
  if (written == bytes.size()) {
    if (profile().writeCompleteCallback) {
      // Later: a callback that sends again, and completes again, must not nest without end.
      post([](TcpConnection& self) {
        const WriteCompleteCallback& callback = self.profile().writeCompleteCallback;
        if (callback && self.connected()) callback(self.shared_from_this());
      });
    }
    return;
  }
  if constexpr (std::is_same_v<std::remove_cvref_t<Bytes>, std::string>) {
    output_.append(std::forward<Bytes>(bytes), written);
  } else {
    output_.append(bytes.substr(written));
  }
  outputGrew();
}

void TcpConnection::outputGrew() {
  if (!watch(&Channel::enableWriting)) return;
  const ConnectionLimits& limits = profile().limits;
  if (aboveHighWater_ || output_.bytes() < limits.highWaterMark) return;
  aboveHighWater_ = true;
  updateReading();
  tellWaterMark(&ConnectionProfile::highWaterMarkCallback);
}

/// Later, both of them: the user is in the middle of a send(), and the low mark may be reached in
/// the very event in which the high one was; who pauses at one and resumes at the other needs them
/// in this order.
void TcpConnection::tellWaterMark(WaterMarkCallback ConnectionProfile::*which) {
  if (!(profile().*which)) return;
  post([which, bytes = output_.bytes()](TcpConnection& self) {
    const WaterMarkCallback& callback = self.profile().*which;
    if (callback && self.connected()) callback(self.shared_from_this(), bytes);
  });
}

void TcpConnection::handleWrite() {
  const IoResult result = output_.writeTo(channel_.fd());
  if (result.error != 0) {
    if (!wouldBlock(result.error)) writeFailed(result.error);
    return;
  }
  if (aboveHighWater_ && output_.bytes() <= profile().limits.lowWaterMark) {
    aboveHighWater_ = false;
    updateReading();
    tellWaterMark(&ConnectionProfile::lowWaterMarkCallback);
  }
  if (output_.empty() && connected()) outputDrained();
}

void TcpConnection::outputDrained() {
  if (!watch(&Channel::disableWriting)) return;
  if (profile().writeCompleteCallback) {
    profile().writeCompleteCallback(shared_from_this());
    if (!output_.empty() || !connected()) return;  // it sent more, or ended the connection
  }
  if (state_.load() == State::disconnecting) shutdownInLoop();
}

/// The peer reads no more (EPIPE, ECONNRESET). What it has sent before may still be in the kernel,
/// so reading goes on to the end; where nothing is read, this is the end.
void TcpConnection::writeFailed(int error) {
  endOutput(error);
  // Any other error is not the peer's (ENOBUFS, ENOMEM): it is alive, and would wait for ever.
  const bool peerIsGone = error == EPIPE || error == ECONNRESET;
  if (!peerIsGone || !channel_.isReading()) closeSoon();
}

/// What waits to be sent goes nowhere any more, and no more is taken; reading goes on if wanted.
void TcpConnection::endOutput(int error) {
  error_ = error;
  writeClosed_ = true;
  State expected = State::connected;
  state_.compare_exchange_strong(expected, State::disconnecting);
  output_.clear();
  aboveHighWater_ = false;
  watch(&Channel::disableWriting);
  updateReading();
}

void TcpConnection::shutdown() {
  State expected = State::connected;
  if (!state_.compare_exchange_strong(expected, State::disconnecting)) return;
  if (inLoopThread()) {
    if (channel_.ownerLoop() != nullptr) shutdownInLoop();
  } else {
    post([](TcpConnection& self) { self.shutdownInLoop(); });
  }
}

void TcpConnection::shutdownInLoop() {
  if (!connected() || !output_.empty()) return;  // outputDrained() comes back here
  if (endOfStream_) {
    closeSoon();  // both directions are done
  } else if (!writeClosed_) {
    writeClosed_ = true;
    socket_.shutdownWrite();
  }
}

// ---- settings ----

template <class Change>
void TcpConnection::changeProfile(Change change) {
  if (!inLoopThread()) LOG_FATAL << "callbacks of " << name() << " set on a thread not its own";
  auto changed = std::make_unique<ConnectionProfile>(profile());
  change(*changed);
  auto old = std::exchange(ownProfile_, std::move(changed));
  // It may hold the callback that is running: it goes when that has returned.
  if (old != nullptr) (void)sharedProfile_->mailbox->post([kept = std::move(old)] {});
}

void TcpConnection::setConnectionCallback(ConnectionCallback callback) {
  changeProfile([&](ConnectionProfile& p) { p.connectionCallback = std::move(callback); });
}
void TcpConnection::setMessageCallback(MessageCallback callback) {
  changeProfile([&](ConnectionProfile& p) { p.messageCallback = std::move(callback); });
}
void TcpConnection::setWriteCompleteCallback(WriteCompleteCallback callback) {
  changeProfile([&](ConnectionProfile& p) { p.writeCompleteCallback = std::move(callback); });
}
void TcpConnection::setHighWaterMarkCallback(WaterMarkCallback callback) {
  changeProfile([&](ConnectionProfile& p) { p.highWaterMarkCallback = std::move(callback); });
}
void TcpConnection::setLowWaterMarkCallback(WaterMarkCallback callback) {
  changeProfile([&](ConnectionProfile& p) { p.lowWaterMarkCallback = std::move(callback); });
}
void TcpConnection::setHalfCloseCallback(HalfCloseCallback callback) {
  changeProfile([&](ConnectionProfile& p) { p.halfCloseCallback = std::move(callback); });
}
void TcpConnection::setLimits(ConnectionLimits limits) {
  changeProfile([&](ConnectionProfile& p) { p.limits = limits; });
  updateReading();
}

}  // namespace rung
