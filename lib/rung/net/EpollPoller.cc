#include "rung/net/EpollPoller.h"

#include <cerrno>
#include <new>
#include <system_error>

#include "rung/base/Logging.h"
#include "rung/net/Channel.h"

namespace rung {

namespace {

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
  const std::size_t room = roomIn(activeChannels, events_.size());
  const int count = epoll_wait(epollFd_.get(), events_.data(), static_cast<int>(room),
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
  if (ready == events_.size() && ready < kMaxEvents) grow();
  return now;
}

void EpollPoller::grow() {
  try {
    events_.resize(events_.size() * 2);
  } catch (const std::bad_alloc&) {  // the rest comes with the next wait
  }
}

void EpollPoller::updateChannel(Channel* channel) {
  const bool wanted = !channel->isNoneEvent();
  if (channel->watched()) {
    control(wanted ? EPOLL_CTL_MOD : EPOLL_CTL_DEL, channel);
  } else if (wanted) {
    const bool isNew = channel->index() == Channel::kNew;
    if (isNew) remember(channel);  // first, as there may be no memory for it
    try {
      control(EPOLL_CTL_ADD, channel);
    } catch (...) {
      if (isNew) forget(channel);
      throw;
    }
  }
  channel->setWatched(wanted);
}

void EpollPoller::removeChannel(Channel* channel) {
  forget(channel);
  if (channel->watched()) control(EPOLL_CTL_DEL, channel);
  channel->setWatched(false);
}

void EpollPoller::control(int operation, Channel* channel) {
  epoll_event event{};
  event.events = channel->events();
  event.data.ptr = channel;
  if (epoll_ctl(epollFd_.get(), operation, channel->fd(), &event) == 0) return;
  const int error = errno;
  if (error == EBADF || error == EEXIST || error == ENOENT || error == EINVAL) {
    // The descriptor was closed, or registered, without this Channel. The next event could go to a
    // Channel that is gone, so the process ends.
    LOG_SYSFATAL << nameOf(operation) << " of fd " << channel->eventsToString();
  }
  throw std::system_error(
      error, std::generic_category(),
      std::string(nameOf(operation)) + " of fd " + std::to_string(channel->fd()));
}

}  // namespace rung
