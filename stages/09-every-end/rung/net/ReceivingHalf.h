#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "rung/net/Buffer.h"
#include "rung/net/IoResult.h"

namespace rung {

/// The receiving half of a connection: the bytes that its message callback has left unread, and its
/// end. A connection with none borrows its thread's Buffer for a read, and keeps it only if
/// something is left then; so an idle one owns no memory (tools/bench --only idle).
/// Thread: loop.
class ReceivingHalf {
 public:
  ReceivingHalf() = default;
  ReceivingHalf(const ReceivingHalf&) = delete;
  ReceivingHalf& operator=(const ReceivingHalf&) = delete;

  /// One read, appended to the Buffer.
  /// Errors: throws std::bad_alloc; call drop() then.
  [[nodiscard]] IoResult readFrom(int fd) {
    Lent& lent = lentByThisThread();
    if (buffer_ == nullptr) buffer_.swap(lent.buffer);
    return buffer().readFd(fd, lent.block);
  }
  /// One read whose bytes are thrown away, with all that was left.
  [[nodiscard]] IoResult discardFrom(int fd);
  /// Without a read: made if there is none.
  [[nodiscard]] Buffer& buffer() {
    if (buffer_ == nullptr) buffer_ = std::make_unique<Buffer>();
    return *buffer_;
  }
  [[nodiscard]] std::size_t bytes() const {
    return buffer_ == nullptr ? 0 : buffer_->readableBytes();
  }

  /// After the message callback, if anything is left: keeps it in memory of its own. If the
  /// callback could not go on, the rest is to be offered again.
  /// Errors: throws std::bad_alloc; call drop() then.
  void keep(bool cannotGoOn);
  /// Gives back a Buffer in which nothing is left.
  void giveBack() {
    if (buffer_ == nullptr || !buffer_->empty()) return;
    buffer_->settle();
    buffer_.swap(lentByThisThread().buffer);
    buffer_.reset();  // it had kept one, and meanwhile there is another: one is enough
  }
  /// Forgets the Buffer, which may stand on the block that all share.
  void drop() { buffer_.reset(); }

 private:
  /// The memory with which the connections of a thread read, one after the other.
  struct Lent {
    std::span<char> block;           // see Buffer::readFd()
    std::unique_ptr<Buffer> buffer;  // stands on it; nullptr: its last borrower has kept it
  };
  static Lent& lentByThisThread() { return lent_ != nullptr ? *lent_ : makeLent(); }
  static Lent& makeLent();

  static constinit thread_local Lent* lent_;

  std::unique_ptr<Buffer> buffer_;  // nullptr: nothing was left unread

 public:
  // Last, so that the connection has a member in the bytes behind them.
  /// The user's wish: see TcpConnection::stopRead().
  bool wanted = true;
  /// The peer will send no more.
  bool ended = false;
  /// Input is thrown away: see TcpConnection::close().
  bool discards = false;
  /// Something was left by a message callback that could not go on.
  bool stuck = false;
};

}  // namespace rung
