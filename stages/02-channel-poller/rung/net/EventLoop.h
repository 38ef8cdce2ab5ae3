#pragma once

#include <memory>

#include "rung/base/Timestamp.h"
#include "rung/base/noncopyable.h"
#include "rung/net/Poller.h"

namespace rung {

class Channel;

/// The reactor: waits for events and hands each to its Channel.
/// This is the smallest one that works: it owns a Poller and knows nothing of threads.
/// Thread: one, for the whole class.
/// Lifetime: outlives loop(). Its destructor tells the Channels that are still registered.
class EventLoop : noncopyable {
 public:
  /// Errors: throws std::system_error if the kernel gives no descriptor.
  explicit EventLoop(PollerKind kind = PollerKind::epoll);
  ~EventLoop();

  /// Waits and dispatches until quit().
  void loop();

  /// Ends loop() after the current batch of events. Called before loop(), it makes that loop()
  /// return at once.
  void quit() { quit_ = true; }

  /// When the last wait ended.
  [[nodiscard]] Timestamp pollReturnTime() const { return pollReturnTime_; }

  // For Channel.
  void updateChannel(Channel* channel);
  void removeChannel(Channel* channel);
  [[nodiscard]] bool hasChannel(const Channel* channel) const;

 private:
  void dispatchActiveChannels();

  bool quit_ = false;
  Timestamp pollReturnTime_;
  std::unique_ptr<Poller> poller_;
  Poller::ChannelList activeChannels_;
  std::size_t nextActive_ = 0;  // the first of activeChannels_ that is not handled yet
};

}  // namespace rung
