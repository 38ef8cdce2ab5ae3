#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "rung/net/TcpConnectionCalls.h"

// The output of a TcpConnection: sends from any thread, what the kernel does not take at once, the
// water marks, and those who hold it open.

namespace rung {

namespace {

template <class Bytes>
constexpr bool kIsFile = std::is_same_v<std::decay_t<Bytes>, FileRange>;

/// What one send() has, in several places.
struct Pieces {
  explicit Pieces(std::span<const std::string_view> p) : views(p) {
    for (const std::string_view view : views)
      bytes += view.size();
  }
  [[nodiscard]] std::size_t size() const { return bytes; }

  const std::span<const std::string_view> views;
  std::size_t bytes = 0;
};

inline ssize_t sendNow(int fd, std::string_view bytes) {
  return ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
}

ssize_t sendNow(int fd, const Pieces& pieces) {
  std::array<iovec, 64> parts;
  const std::size_t count = std::min(pieces.views.size(), parts.size());
  for (std::size_t i = 0; i < count; ++i)
    parts[i] = {const_cast<char*>(pieces.views[i].data()), pieces.views[i].size()};
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = count;
  return ::sendmsg(fd, &message, MSG_NOSIGNAL);
}

ssize_t sendNow(int fd, const FileRange& file) {
  return file.sendTo(fd);
}

/// What waiting bytes count for.
template <class Bytes>
inline std::size_t weightOf(const Bytes& bytes) {
  if constexpr (kIsFile<Bytes>) {
    return bytes.weight();
  } else {
    return bytes.size();
  }
}

template <class Bytes>
inline void keepIn(SendingHalf& sending, Bytes&& bytes, std::size_t taken, std::size_t promised) {
  sending.keep(std::forward<Bytes>(bytes), taken, promised);
}

void keepIn(SendingHalf& sending, Pieces&& pieces, std::size_t taken, std::size_t) {
  for (const std::string_view piece : pieces.views) {
    const std::size_t skipped = std::min(taken, piece.size());
    taken -= skipped;
    if (skipped < piece.size()) sending.keep(piece, skipped, 0);
  }
}

}  // namespace

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

bool TcpConnection::send(std::span<const std::string_view> pieces) {
  Pieces all(pieces);
  if (inLoopThread()) return sendHere(std::move(all));
  std::string joined;
  joined.reserve(all.size());
  for (const std::string_view piece : pieces)
    joined += piece;
  return sendFromElsewhere(std::move(joined));
}

bool TcpConnection::sendFile(UniqueFd file, std::uint64_t offset, std::uint64_t length) {
  FileRange range(std::move(file), offset, length);
  return inLoopThread() ? sendHere(std::move(range)) : sendFromElsewhere(std::move(range));
}

template <class Bytes>
inline bool TcpConnection::sendHere(Bytes&& bytes) {
  // A loop that is gone has ended the connection.
  if (state_.load() != State::connected) return false;
  return write(std::forward<Bytes>(bytes), 0);
}

template <class Bytes>
bool TcpConnection::sendFromElsewhere(Bytes bytes) {
  if (state_.load() != State::connected) return false;
  const std::size_t size = weightOf(bytes);
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
template <class Bytes>
void TcpConnection::sendPromised(Bytes&& bytes) {
  if (!connected() || sending_.closed()) return;  // lost, and so it stays counted
  const std::size_t size = weightOf(bytes);
  (void)write(std::forward<Bytes>(bytes), size);
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
    const ssize_t n = sendNow(channel_.fd(), bytes);
    if (n < 0 && !wouldBlock(errno)) {
      const int error = errno;
      if constexpr (kIsFile<Bytes>) (void)socket_.setResetOnClose();
      writeFailed(error);
      return false;
    }
    if (n > 0) {
      taken = static_cast<std::size_t>(n);
      sent(taken);
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
    keepIn(sending_, std::forward<Bytes>(bytes), taken, promised);
  } catch (const std::bad_alloc&) {  // a part of them may be out, so the stream ends here
    if constexpr (kIsFile<Bytes>) (void)socket_.setResetOnClose();
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
  sent(result.bytes);
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

int TcpConnection::unacknowledgedBytes() const {
  int bytes = 0;
  return ::ioctl(socket_.fd(), SIOCOUTQ, &bytes) == 0 ? bytes : 0;
}

}  // namespace rung
