#include "rung/net/Channel.h"

#include <sys/epoll.h>

#include <memory>
#include <utility>

#include "rung/base/Guarded.h"
#include "rung/base/Logging.h"
#include "rung/net/EventLoop.h"

namespace rung {

const std::uint32_t Channel::kReadEvent = EPOLLIN;
const std::uint32_t Channel::kWriteEvent = EPOLLOUT;
const std::uint32_t Channel::kEdgeTriggered = EPOLLET;
const std::uint32_t Channel::kErrorEvent = EPOLLERR;

namespace {

std::string describe(int fd, std::uint32_t events) {
  static constexpr struct {
    std::uint32_t bit;
    const char* name;
  } kNames[] = {{EPOLLIN, " IN"},   {EPOLLPRI, " PRI"},     {EPOLLOUT, " OUT"}, {EPOLLERR, " ERR"},
                {EPOLLHUP, " HUP"}, {EPOLLRDHUP, " RDHUP"}, {EPOLLET, " ET"}};
  std::string text = std::to_string(fd) + ":";
  for (const auto& [bit, name] : kNames) {
    if ((events & bit) != 0) text += name;
  }
  return text;
}

}  // namespace

/// What a callback has set, for when it has returned.
struct Channel::Change {
  Channel* const channel;
  EventCallback make;
  Change* next;
};

// Of all Channels of the thread. Not a member, as that would be 8 bytes for each connection.
constinit thread_local Channel::Change* Channel::changes = nullptr;

Channel::Channel(EventLoop* loop, int fd) : loop_(loop), fd_(fd) {
  if (loop == nullptr) LOG_FATAL << "Channel of fd " << fd << " without an EventLoop";
}

Channel::~Channel() {
  if (eventHandling_) LOG_FATAL << "Channel of fd " << fd_ << " destroyed by its own callback";
  if (index_ != kNew) LOG_FATAL << "Channel of fd " << fd_ << " destroyed while still registered";
}

void Channel::tie(const std::shared_ptr<void>& owner) {
  tie_ = owner;
  tied_ = true;
}

void Channel::setInterest(std::uint32_t events) {
  if (events == events_ || loop_ == nullptr) return;
  const std::uint32_t before = std::exchange(events_, events);
  try {
    loop_->updateChannel(this);
  } catch (...) {
    events_ = before;
    throw;
  }
}

void Channel::remove() {
  events_ = kNoneEvent;
  if (index_ != kNew) loop_->removeChannel(this);
}

void Channel::loopGone() {
  loop_ = nullptr;
  index_ = kNew;
  events_ = kNoneEvent;
}

// Inline, since that is a tenth of the instructions of an event.
template <class Callback, class... Arguments>
[[gnu::always_inline]] inline void Channel::call(const char* kind, Callback& callback,
                                                 Arguments... arguments) {
  runGuarded([&] { callback(arguments...); },
             [&] { return std::string("the ") + kind + " callback of fd " + std::to_string(fd_); });
  if (changed_) makeChanges();
}

void Channel::changeLater(EventCallback change) {
  Change** end = &changes;
  while (*end != nullptr)
    end = &(*end)->next;
  *end = new Change{this, std::move(change), nullptr};
  changed_ = true;
}

void Channel::makeChanges() {
  Change** place = &changes;
  while (*place != nullptr) {
    if ((*place)->channel != this) {
      place = &(*place)->next;
      continue;
    }
    const std::unique_ptr<Change> due(*place);
    *place = due->next;
    due->make();
    place = &changes;  // the destructor of a replaced callback may have set another
  }
  changed_ = false;
}

void Channel::tellLoopGone() noexcept {
  if (!closeCallback_) return;
  eventHandling_ = true;
  call("close", closeCallback_);
  eventHandling_ = false;
}

void Channel::handleEvent(Timestamp receiveTime) noexcept {
  std::shared_ptr<void> guard;
  if (tied_ && (guard = tie_.lock()) == nullptr) return;
  eventHandling_ = true;
  // Each test asks for the present interest too: a callback earlier in the same batch, or the one
  // just before in here, may have switched it off since the kernel was asked.
  const std::uint32_t happened = revents_;
  if ((happened & (EPOLLIN | EPOLLPRI | EPOLLRDHUP)) != 0) {
    if (isReading() && readCallback_) call("read", readCallback_, receiveTime);
  } else if ((happened & (EPOLLHUP | EPOLLERR)) != 0) {
    handleHangUpOrError(happened, receiveTime);
  }
  if ((happened & EPOLLOUT) != 0 && isWriting() && writeCallback_) {
    call("write", writeCallback_);
  }
  eventHandling_ = false;
}

// Only with nothing to read. A reset comes with IN and ERR both: there the read callback goes first
// and alone, since asking for SO_ERROR before the read would clear the error, and the read would
// see a clean end of file.
void Channel::handleHangUpOrError(std::uint32_t happened, Timestamp receiveTime) {
  if (!isNoneEvent() && (happened & EPOLLHUP) != 0) {
    // Both directions of the connection are down, or the other end of the pipe is.
    if (closeCallback_) {
      call("close", closeCallback_);
    } else if (readCallback_) {
      call("read", readCallback_, receiveTime);
    }
  }
  if (!isNoneEvent() && (happened & EPOLLERR) != 0) {
    if (errorCallback_) {
      call("error", errorCallback_);
    } else if (isReading() && readCallback_) {
      call("read", readCallback_, receiveTime);
    } else if (writeCallback_) {
      call("write", writeCallback_);
    }
  }
}

std::string Channel::eventsToString() const {
  return describe(fd_, events_);
}
std::string Channel::reventsToString() const {
  return describe(fd_, revents_);
}

}  // namespace rung
