#include "rung/net/TimingWheel.h"

#include <stdexcept>
#include <string>

#include "rung/base/Guarded.h"
#include "rung/base/Logging.h"
#include "rung/net/EventLoop.h"
#include "rung/net/Mailbox.h"

namespace rung {

std::size_t TimingWheel::bucketsFor(std::chrono::milliseconds timeout,
                                    std::chrono::milliseconds tick) {
  const std::string what = "a timeout of " + std::to_string(timeout.count()) +
                           " ms with a tick of " + std::to_string(tick.count()) + " ms: ";
  if (timeout.count() <= 0 || tick.count() <= 0) {
    throw std::invalid_argument(what + "both must be more than zero");
  }
  constexpr auto kMaxTicks = static_cast<std::chrono::milliseconds::rep>(kMaxBuckets - 1);
  const auto roundedUp = (timeout.count() - 1) / tick.count() + 1;
  if (roundedUp > kMaxTicks) {
    const auto coarser = (timeout.count() - 1) / kMaxTicks + 1;
    throw std::invalid_argument(what + "the tick must be at least " + std::to_string(coarser) +
                                " ms");
  }
  return static_cast<std::size_t>(roundedUp) + 1;
}

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

// Not runEvery(): after a late tick its next one comes sooner, and an entry that was refreshed just
// before the late tick would lose the difference. So the next tick counts from now. The drift does
// no harm.
void TimingWheel::startTimer() {
  timer_ = mailbox_->loop()->runAfter(tick_, [this] { onTimer(); });
}

void TimingWheel::turn() noexcept {
  if (destroyed_ != nullptr) LOG_FATAL << "TimingWheel turned by a callback of its own";
  bool destroyed = false;
  destroyed_ = &destroyed;
  // Takes the whole bucket at once: a new head joins the ring, and the old one leaves it. The
  // bucket must be empty, since entries that are refreshed from now on go into it.
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
    runGuarded([&] { entry.onIdle(); },
               [] { return std::string("onIdle() of an entry of a TimingWheel"); });
    if (destroyed) return;
    // If another entry is the first now, this one has left the wheel or is destroyed.
    if (due_.next == first && isIdle(entry)) entry.unlink();
  }
  destroyed_ = nullptr;
}

}  // namespace rung
