#pragma once

#include <functional>
#include <initializer_list>

#include "rung/base/UniqueFd.h"
#include "rung/base/noncopyable.h"
#include "rung/net/Channel.h"

namespace rung {

class EventLoop;

/// Signals as events of a loop: the callback is ordinary code, and may do what a signal handler
/// must not (allocate, lock, log).
/// It blocks the signals in the thread that creates it, so that they wait for this descriptor. A
/// thread in which they are not blocked would take them instead. The threads of this library block
/// all signals; other threads inherit it, if they are started after this object is made.
/// Child processes inherit it too, through exec as well, and a blocked SIGTERM does not end them:
/// see unblockInChild(). system(3) and popen(3) cannot unblock signals; posix_spawn(3) can, with
/// posix_spawnattr_setsigmask(3) and POSIX_SPAWN_SETSIGMASK.
/// Thread: loop.
/// Lifetime: a member or a local beside the loop; when it is destroyed, the signals stay blocked.
/// The callback must not destroy it.
/// Errors: throws std::system_error, with the number of a signal that does not exist; aborts
/// without a loop. An exception from the callback ends the process. Source: signalfd(2), fork(2).
class SignalFd : noncopyable {
 public:
  using Callback = std::function<void(int signal)>;

  SignalFd(EventLoop* loop, std::initializer_list<int> numbers, Callback callback);
  ~SignalFd();

  /// Unblocks all signals of the calling thread: for a child process, between fork() and exec().
  /// Thread: any; async-signal-safe, as every call must be in a child of a process with threads.
  /// Errors: never fails.
  static void unblockInChild() noexcept;

 private:
  void handleRead();

  const UniqueFd fd_;
  Channel channel_;
  const Callback callback_;
};

}  // namespace rung
