#pragma once

#include <poll.h>

#include "rung/net/Poller.h"

namespace rung {

/// The demultiplexer on poll(2): the whole interest list goes to the kernel and back at every wait.
/// It is for comparison. Its cost grows with the number of descriptors that it watches. It has no
/// edge-triggered mode.
/// Source: poll(2); muduo net/poller/PollPoller.cc.
class PollPoller final : public Poller {
 public:
  Timestamp poll(std::chrono::milliseconds timeout, ChannelList& activeChannels) override;
  void updateChannel(Channel* channel) override;
  void removeChannel(Channel* channel) override;

 private:
  std::vector<pollfd> pollFds_;  // in step with channels()
};

}  // namespace rung
