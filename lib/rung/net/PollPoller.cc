#include "rung/net/PollPoller.h"

#include <sys/epoll.h>

#include <cerrno>

#include "rung/base/Logging.h"
#include "rung/net/Channel.h"

namespace rung {

// A Channel speaks in epoll's bits; on Linux poll's have the same values.
static_assert(EPOLLIN == POLLIN && EPOLLPRI == POLLPRI && EPOLLOUT == POLLOUT);
static_assert(EPOLLERR == POLLERR && EPOLLHUP == POLLHUP);

namespace {

// poll(2) skips a negative descriptor. "-fd - 1" keeps the number, also for descriptor 0.
pollfd entryFor(const Channel* channel) {
  const int fd = channel->isNoneEvent() ? -channel->fd() - 1 : channel->fd();
  return {fd, static_cast<short>(channel->events()), 0};
}

}  // namespace

Timestamp PollPoller::poll(std::chrono::milliseconds timeout, ChannelList& activeChannels) {
  std::size_t room = roomIn(activeChannels, pollFds_.size());
  const int count = ::poll(pollFds_.data(), pollFds_.size(), static_cast<int>(timeout.count()));
  const Timestamp now = Timestamp::now();
  if (count < 0 && errno != EINTR) LOG_SYSFATAL << "poll";
  int left = count;
  for (std::size_t i = 0; left > 0 && room > 0; ++i) {
    if (pollFds_[i].revents == 0) continue;
    --left;
    --room;
    if ((pollFds_[i].revents & POLLNVAL) != 0) {
      LOG_FATAL << "poll: fd " << pollFds_[i].fd << " was closed while its Channel is registered";
    }
    channels()[i]->setRevents(static_cast<std::uint32_t>(pollFds_[i].revents));
    activeChannels.push_back(channels()[i]);
  }
  return now;
}

void PollPoller::updateChannel(Channel* channel) {
  if ((channel->events() & EPOLLET) != 0) LOG_FATAL << "poll(2) has no edge-triggered mode";
  if (channel->index() != Channel::kNew) {
    pollFds_[static_cast<std::size_t>(channel->index())] = entryFor(channel);
    return;
  }
  if (channel->isNoneEvent()) return;
  // epoll finds this out by itself.
  for (const Channel* other : channels())
    if (other->fd() == channel->fd()) LOG_FATAL << "two Channels for fd " << channel->fd();
  remember(channel);
  try {
    pollFds_.push_back(entryFor(channel));
  } catch (...) {
    forget(channel);
    throw;
  }
}

void PollPoller::removeChannel(Channel* channel) {
  const std::size_t place = forget(channel);  // first, as it may find that there is none
  pollFds_[place] = pollFds_.back();
  pollFds_.pop_back();
}

}  // namespace rung
