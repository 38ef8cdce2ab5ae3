#pragma once

#include <poll.h>

#include "rung/net/Poller.h"

namespace rung {

/// The demultiplexer on poll(2): the whole interest list goes to the kernel and back at every wait.
/// Good to compare with and to read; its cost grows with what is watched. No edge-triggered mode.
/// Source: poll(2); muduo net/poller/PollPoller.cc.
class PollPoller final : public Poller {
 public:
  Timestamp poll(std::chrono::milliseconds timeout, ChannelList& activeChannels) override;
  void updateChannel(Channel* channel) override;
  void removeChannel(Channel* channel) override;

 private:
  // Two lists in step; Channel::index() is the position in both.
  std::vector<pollfd> pollFds_;
  ChannelList polled_;
};

}  // namespace rung
