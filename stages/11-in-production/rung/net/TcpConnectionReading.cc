#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <new>

#include "rung/base/LogLimit.h"
#include "rung/base/Logging.h"
#include "rung/net/EventLoop.h"
#include "rung/net/TcpConnectionCalls.h"

// The input of a TcpConnection: reads, messages, what they leave, and the ends that the peer
// brings.

namespace rung {

void TcpConnection::handleRead(Timestamp receiveTime) {
  if (receiving_.stuck) offerWhatIsLeft();
  if (!channel_.isReading()) return;  // more is not wanted, after all
  IoResult result;
  try {
    result = receiving_.discards ? discard() : readAndTell(receiveTime);
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
    received(result.bytes);
    tellMessage(receiveTime);
  }
  if (receiving_.stuck || receiving_.bytes() > 0) receiving_.keep(!mayAnswer());
  receiving_.giveBack();
  return result;
}

IoResult TcpConnection::discard() {
  const IoResult result = receiving_.discardFrom(channel_.fd());
  profile_->counters.bytesIn.add(result.bytes);  // no sign of life: the peer may send for ever
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
  static LogLimit limit(std::chrono::minutes(1));
  try {
    if (const auto others = limit.next()) {
      LOG_WARN << name() << " left " << receiving_.bytes() << " bytes unread, more than maxInput "
               << current().limits.maxInput << ": closing; " << *others
               << " more such ends since the last such line";
    }
  } catch (const std::bad_alloc&) {  // there is no memory for the line
  }
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

bool TcpConnection::isReading() const {
  assertInLoopThread("isReading()");
  return channel_.isReading();
}

Buffer& TcpConnection::inputBuffer() {
  assertInLoopThread("inputBuffer()");
  return receiving_.buffer();
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

}  // namespace rung
