#include "rung/net/TimingWheel.h"

#include <stdexcept>
#include <string>

#include "rung/base/Logging.h"
#include "rung/net/EventLoop.h"
#include "rung/net/Mailbox.h"

namespace rung {

namespace {

std::size_t bucketsFor(std::chrono::milliseconds timeout, std::chrono::milliseconds tick) {
  if (timeout.count() <= 0 || tick.count() <= 0) {
    throw std::invalid_argument("TimingWheel with a timeout of " + std::to_string(timeout.count()) +
                                " ms and a tick of " + std::to_string(tick.count()) + " ms");
  }
  const auto roundedUp = (timeout.count() - 1) / tick.count() + 1;
  return static_cast<std::size_t>(roundedUp) + 1;
}

}  // namespace

void TimingWheel::Link::unlink() {
  previous->next = next;
  next->previous = previous;
  previous = next = this;
}

void TimingWheel::Link::insertBefore(Link& other) {
  unlink();
  previous = other.previous;
  next = &other;
  previous->next = next->previous = this;
}

void TimingWheel::Link::clear() {
  while (next != this)
    next->unlink();
}

TimingWheel::TimingWheel(EventLoop* loop, std::chrono::milliseconds timeout,
                         std::chrono::milliseconds tick)
    : tick_(tick),
      mailbox_(loop == nullptr ? nullptr : loop->mailbox()),
      buckets_(bucketsFor(timeout, tick)) {
  if (loop == nullptr) return;
  loop->assertInLoopThread();
  startTimer();
}

TimingWheel::~TimingWheel() {
  if (destroyed_ != nullptr) *destroyed_ = true;
  for (Link& bucket : buckets_)
    bucket.clear();
  due_.clear();
  EventLoop* loop = mailbox_ == nullptr ? nullptr : mailbox_->loop();
  if (loop != nullptr) loop->cancel(timer_);
}

void TimingWheel::add(Entry& entry) {
  refresh(entry);
  entry.insertBefore(bucketOf(now_));
}

void TimingWheel::tick() noexcept {
  ++now_;
  turn();
}

void TimingWheel::onTimer() {
  ++now_;
  startTimer();
  turn();
}

// Not runEvery(): that makes up for a tick that came late by a shorter one after it, and an entry
// that was refreshed just before the late one would lose the difference. So the next tick counts
// from here. That this drifts does not matter.
void TimingWheel::startTimer() {
  timer_ = mailbox_->loop()->runAfter(tick_, [this] { onTimer(); });
}

void TimingWheel::turn() noexcept {
  if (destroyed_ != nullptr) LOG_FATAL << "TimingWheel turned by a callback of its own";
  bool destroyed = false;
  destroyed_ = &destroyed;
  // The whole bucket at once: a new head joins the ring, and the old one leaves it. It has to be
  // empty, since what is refreshed from now on comes into it.
  Link& bucket = bucketOf(now_);
  due_.insertBefore(bucket);
  bucket.unlink();
  while (due_.next != &due_) {
    Link* const first = due_.next;
    auto& entry = static_cast<Entry&>(*first);
    if (!isIdle(entry)) {
      entry.insertBefore(bucketOf(entry.refreshed_));
      continue;
    }
    entry.onIdle();
    if (destroyed) return;
    // If another one is the first now, the entry has left, or is gone.
    if (due_.next == first && isIdle(entry)) entry.unlink();
  }
  destroyed_ = nullptr;
}

}  // namespace rung
