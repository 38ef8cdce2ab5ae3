#pragma once

#include <sys/epoll.h>

#include "rung/base/UniqueFd.h"
#include "rung/net/Poller.h"

namespace rung {

/// The demultiplexer on epoll(7): the kernel keeps the interest list, so a wait costs by what is
/// ready and not by what is watched.
/// Source: epoll_create1(2), epoll_ctl(2), epoll_wait(2); muduo net/poller/EPollPoller.cc.
class EpollPoller final : public Poller {
 public:
  EpollPoller();

  Timestamp poll(std::chrono::milliseconds timeout, ChannelList& activeChannels) override;
  void updateChannel(Channel* channel) override;
  void removeChannel(Channel* channel) override;

 private:
  /// epoll_ctl(2). Throws for what the kernel may refuse; aborts for what only a bug can cause.
  void control(int operation, Channel* channel);

  UniqueFd epollFd_;
  std::vector<epoll_event> events_;  // grows while it comes back full
};

}  // namespace rung
