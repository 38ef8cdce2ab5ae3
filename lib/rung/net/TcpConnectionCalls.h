#pragma once

#include <cerrno>
#include <memory>
#include <new>
#include <utility>

#include "rung/net/Mailbox.h"
#include "rung/net/TcpConnection.h"

// For the files that TcpConnection is made of; not for users. What they have in common is inline,
// as it is in the way of every message.

namespace rung {

inline bool wouldBlock(int error) {
  return error == EAGAIN || error == EINTR;
}

/// Whether the other side has broken it off, rather than this one failed.
inline bool isReset(int error) {
  return error == ECONNRESET || error == EPIPE;
}

inline bool TcpConnection::inLoopThread() const {
  return profile_->mailbox->isInLoopThread();
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

}  // namespace rung
