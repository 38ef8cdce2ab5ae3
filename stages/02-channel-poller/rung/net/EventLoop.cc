#include "rung/net/EventLoop.h"

#include <algorithm>

#include "rung/net/Channel.h"

namespace rung {

namespace {

constexpr std::chrono::milliseconds kForever{-1};

}  // namespace

EventLoop::EventLoop(PollerKind kind) : poller_(Poller::create(kind)) {}

EventLoop::~EventLoop() = default;

void EventLoop::loop() {
  while (!quit_) {
    pollReturnTime_ = poller_->poll(kForever, activeChannels_);
    dispatchActiveChannels();
  }
  // Cleared when loop() ends and not when it begins, so that a quit() before loop() is not lost.
  quit_ = false;
}

void EventLoop::dispatchActiveChannels() {
  for (nextActive_ = 0; nextActive_ < activeChannels_.size();) {
    Channel* channel = activeChannels_[nextActive_++];
    if (channel != nullptr) channel->handleEvent(pollReturnTime_);
  }
  activeChannels_.clear();
  nextActive_ = 0;
}

void EventLoop::updateChannel(Channel* channel) {
  poller_->updateChannel(channel);
}

void EventLoop::removeChannel(Channel* channel) {
  poller_->removeChannel(channel);
  // It may be ready in the current batch, and its owner may delete it right after this call.
  const auto rest = activeChannels_.begin() + static_cast<std::ptrdiff_t>(nextActive_);
  std::replace(rest, activeChannels_.end(), channel, static_cast<Channel*>(nullptr));
}

bool EventLoop::hasChannel(const Channel* channel) const {
  return poller_->hasChannel(channel);
}

}  // namespace rung
