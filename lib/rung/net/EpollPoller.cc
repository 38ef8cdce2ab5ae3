#include "rung/net/EpollPoller.h"

#include <cerrno>
#include <system_error>

#include "rung/base/Logging.h"
#include "rung/net/Channel.h"

namespace rung {

namespace {

// Where a Channel stands, in Channel::index(). kDeleted: in our table, but not with the kernel,
// because it wants no event at the moment. With events = 0 epoll would still report ERR and HUP.
constexpr int kAdded = 1;
constexpr int kDeleted = 2;

constexpr std::size_t kInitialEvents = 32;
constexpr std::size_t kMaxEvents = 4096;

const char* nameOf(int operation) {
  if (operation == EPOLL_CTL_ADD) return "epoll_ctl ADD";
  return operation == EPOLL_CTL_MOD ? "epoll_ctl MOD" : "epoll_ctl DEL";
}

}  // namespace

EpollPoller::EpollPoller()
    : epollFd_(checkedFd(epoll_create1(EPOLL_CLOEXEC), "epoll_create1")), events_(kInitialEvents) {}

Timestamp EpollPoller::poll(std::chrono::milliseconds timeout, ChannelList& activeChannels) {
  const int count = epoll_wait(epollFd_.get(), events_.data(), static_cast<int>(events_.size()),
                               static_cast<int>(timeout.count()));
  const Timestamp now = Timestamp::now();
  if (count < 0) {
    if (errno != EINTR) LOG_SYSFATAL << "epoll_wait";
    return now;
  }
  const auto ready = static_cast<std::size_t>(count);
  for (std::size_t i = 0; i < ready; ++i) {
    auto* channel = static_cast<Channel*>(events_[i].data.ptr);
    channel->setRevents(events_[i].events);
    activeChannels.push_back(channel);
  }
  if (ready == events_.size() && ready < kMaxEvents) events_.resize(ready * 2);
  return now;
}

void EpollPoller::updateChannel(Channel* channel) {
  if (channel->index() == kAdded) {
    if (channel->isNoneEvent()) {
      control(EPOLL_CTL_DEL, channel);
      channel->setIndex(kDeleted);
    } else {
      control(EPOLL_CTL_MOD, channel);
    }
    return;
  }
  if (channel->isNoneEvent()) return;
  control(EPOLL_CTL_ADD, channel);
  if (channel->index() == Channel::kNew) remember(channel);
  channel->setIndex(kAdded);
}

void EpollPoller::removeChannel(Channel* channel) {
  forget(channel);
  if (channel->index() == kAdded) control(EPOLL_CTL_DEL, channel);
  channel->setIndex(Channel::kNew);
}

void EpollPoller::control(int operation, Channel* channel) {
  epoll_event event{};
  event.events = channel->events();
  event.data.ptr = channel;
  if (epoll_ctl(epollFd_.get(), operation, channel->fd(), &event) == 0) return;
  const int error = errno;
  if (error == EBADF || error == EEXIST || error == ENOENT || error == EINVAL) {
    // The descriptor was closed, or registered, behind our back. The next event could go to a
    // Channel that is gone, so there is no way on from here.
    LOG_SYSFATAL << nameOf(operation) << " of fd " << channel->eventsToString();
  }
  throw std::system_error(
      error, std::generic_category(),
      std::string(nameOf(operation)) + " of fd " + std::to_string(channel->fd()));
}

}  // namespace rung
