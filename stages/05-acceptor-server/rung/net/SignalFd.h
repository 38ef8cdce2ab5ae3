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
/// Create it in the main thread before any other thread: it blocks the signals there, threads
/// inherit that, and so the signals wait for this descriptor.
/// Thread: loop.
/// Lifetime: a member or a local beside the loop; when it goes, the signals stay blocked. The
/// callback must not destroy it.
/// Errors: throws std::system_error.
/// Source: signalfd(2).
class SignalFd : noncopyable {
 public:
  using Callback = std::function<void(int signal)>;

  SignalFd(EventLoop* loop, std::initializer_list<int> signals, Callback callback);
  ~SignalFd();

 private:
  void handleRead();

  const UniqueFd fd_;
  Channel channel_;
  const Callback callback_;
};

}  // namespace rung
