#include "rung/net/Poller.h"

#include <algorithm>
#include <new>
#include <utility>

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
  // First all Channels forget the loop. Then those whose owner can be kept alive call back: such a
  // callback may destroy any of the others.
  std::vector<std::pair<std::shared_ptr<void>, Channel*>> owners;
  for (Channel* channel : channels_) {
    channel->loopGone();
    if (auto owner = channel->owner()) owners.emplace_back(std::move(owner), channel);
  }
  for (const auto& [owner, channel] : owners)
    channel->tellLoopGone();
}

bool Poller::hasChannel(const Channel* channel) const {
  const auto place = static_cast<std::size_t>(channel->index());
  return place < channels_.size() && channels_[place] == channel;
}

std::size_t Poller::makeRoom(ChannelList& list, std::size_t wanted) {
  try {
    list.reserve(list.size() + wanted);
  } catch (const std::bad_alloc&) {
    if (list.size() == list.capacity()) throw;
  }
  return std::min(wanted, list.capacity() - list.size());
}

void Poller::remember(Channel* channel) {
  if (channel->fd() < 0) LOG_FATAL << "Channel with the bad descriptor " << channel->fd();
  channels_.push_back(channel);
  channel->setIndex(static_cast<int>(channels_.size() - 1));
}

std::size_t Poller::forget(Channel* channel) {
  if (!hasChannel(channel)) LOG_FATAL << "Channel of fd " << channel->fd() << " is of another loop";
  const int hole = channel->index();
  const auto place = static_cast<std::size_t>(hole);
  channels_[place] = channels_.back();
  channels_[place]->setIndex(hole);
  channels_.pop_back();
  channel->setIndex(Channel::kNew);
  return place;
}

}  // namespace rung
