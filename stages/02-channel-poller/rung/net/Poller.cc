#include "rung/net/Poller.h"

#include "rung/base/Logging.h"
#include "rung/net/Channel.h"
#include "rung/net/EpollPoller.h"
#include "rung/net/PollPoller.h"

namespace rung {

std::unique_ptr<Poller> Poller::create(PollerKind kind) {
  if (kind == PollerKind::poll) return std::make_unique<PollPoller>();
  return std::make_unique<EpollPoller>();
}

Poller::~Poller() {
  for (Channel* channel : channels_) {
    if (channel != nullptr) channel->loopGone();
  }
}

bool Poller::hasChannel(const Channel* channel) const {
  const auto fd = static_cast<std::size_t>(channel->fd());
  return fd < channels_.size() && channels_[fd] == channel;
}

void Poller::remember(Channel* channel) {
  if (channel->fd() < 0) LOG_FATAL << "Channel with the bad descriptor " << channel->fd();
  const auto fd = static_cast<std::size_t>(channel->fd());
  if (fd >= channels_.size()) channels_.resize(fd + 1, nullptr);
  if (channels_[fd] != nullptr) LOG_FATAL << "two Channels for fd " << fd;
  channels_[fd] = channel;
}

void Poller::forget(const Channel* channel) {
  if (!hasChannel(channel)) LOG_FATAL << "Channel of fd " << channel->fd() << " is of another loop";
  channels_[static_cast<std::size_t>(channel->fd())] = nullptr;
}

}  // namespace rung
