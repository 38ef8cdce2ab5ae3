#pragma once

#include <sys/epoll.h>

#include "rung/base/UniqueFd.h"
#include "rung/net/Poller.h"

namespace rung {

/// The demultiplexer on epoll(7): the kernel keeps the interest list. So the cost of a wait depends
/// on how many are ready, not on how many are watched.
/// Source: epoll_create1(2), epoll_ctl(2), epoll_wait(2); muduo net/poller/EPollPoller.cc.
class EpollPoller final : public Poller {
 public:
  EpollPoller();

  Timestamp poll(std::chrono::milliseconds timeout, ChannelList& activeChannels) override;
  void updateChannel(Channel* channel) override;
  void removeChannel(Channel* channel) override;
  [[nodiscard]] int fd() const override { return epollFd_.get(); }

 private:
  /// Calls epoll_ctl(2).
  /// Errors: throws if the kernel refuses; aborts on an error that only a bug can cause.
  void control(int operation, Channel* channel);

  void grow();

  UniqueFd epollFd_;
  std::vector<epoll_event> events_;  // grows while it comes back full
};

}  // namespace rung
