#include "rung/net/EventLoop.h"

#include <algorithm>
#include <cstdlib>

#include "rung/base/CurrentThread.h"
#include "rung/base/Logging.h"
#include "rung/net/Mailbox.h"
#include "rung/net/TimerQueue.h"

namespace rung {

namespace {

constexpr std::chrono::milliseconds kForever{-1};
constexpr std::chrono::milliseconds kNoWait{0};

// The Mailbox and not the loop: a loop that is destroyed on another thread cannot clear this
// variable, but its Mailbox says that it is gone.
thread_local std::shared_ptr<Mailbox> mailboxOfThisThread;

}  // namespace

EventLoop::EventLoop(PollerKind kind)
    : poller_(Poller::create(kind)),
      mailbox_(std::make_shared<Mailbox>(this)),
      wakeupChannel_(this, mailbox_->wakeupFd()),
      timers_(std::make_unique<TimerQueue>(this)) {
  if (const EventLoop* other = ofCurrentThread()) {
    LOG_FATAL << "thread " << CurrentThread::tid() << " has an EventLoop already, at " << other;
  }
  wakeupChannel_.setReadCallback([this](Timestamp) { wakeups_ += mailbox_->drainWakeups(); });
  wakeupChannel_.enableReading();
  mailboxOfThisThread = mailbox_;  // last: if the line above throws, this thread has no loop
}

EventLoop::~EventLoop() {
  if (mailbox_->looping()) LOG_FATAL << "EventLoop destroyed while loop() runs";
  // First the Channels learn that they are on their own, then the tasks and timers go that nobody
  // will run: what these own may in turn own Channels.
  poller_.reset();
  mailbox_->close();
  timers_->close();
  if (mailboxOfThisThread == mailbox_) mailboxOfThisThread.reset();
}

void EventLoop::loop() {
  assertInLoopThread();
  if (mailbox_->looping()) LOG_FATAL << "loop() called from within loop()";
  mailbox_->enterLoop();
  for (auto next = mailbox_->beforeWait(); next != Mailbox::Next::quit;
       next = mailbox_->beforeWait()) {
    pollReturnTime_ =
        poller_->poll(next == Mailbox::Next::wait ? kForever : kNoWait, activeChannels_);
    mailbox_->afterWait();
    ++iteration_;
    dispatchActiveChannels();
    runQueuedTasks();
  }
  runQueuedTasks();
  mailbox_->leaveLoop();
}

void EventLoop::dispatchActiveChannels() {
  for (nextActive_ = 0; nextActive_ < activeChannels_.size();) {
    Channel* channel = activeChannels_[nextActive_++];
    if (channel != nullptr) channel->handleEvent(pollReturnTime_);
  }
  activeChannels_.clear();
  nextActive_ = 0;
}

// noexcept: an exception from a task ends the process where it was thrown, with the stack intact.
void EventLoop::runQueuedTasks() noexcept {
  mailbox_->takeTasks(batch_);
  for (Task& task : batch_) {
    task();
    task.reset();  // what it holds goes now, and not when the last task of the batch has run
  }
  batch_.clear();
}

// The loop may end, and be gone, before requestQuit() has returned: that is the Mailbox's care.
void EventLoop::quit() {
  mailbox_->requestQuit();
}

void EventLoop::runInLoop(Task task) {
  if (isInLoopThread()) {
    task();
  } else {
    queueInLoop(std::move(task));
  }
}

void EventLoop::queueInLoop(Task task) {
  (void)mailbox_->post(std::move(task));
}

TimerId EventLoop::runAt(std::chrono::steady_clock::time_point deadline, Task task) {
  return timers_->addAt(deadline, std::move(task));
}

TimerId EventLoop::runAfter(std::chrono::steady_clock::duration delay, Task task) {
  return timers_->addAfter(delay, std::move(task));
}

TimerId EventLoop::runEvery(std::chrono::steady_clock::duration interval, Task task) {
  return timers_->addEvery(interval, std::move(task));
}

bool EventLoop::cancel(TimerId id) {
  return timers_->cancel(id);
}

void EventLoop::wakeup() {
  mailbox_->wakeup();
}

bool EventLoop::isInLoopThread() const {
  return mailbox_->isInLoopThread();
}

EventLoop* EventLoop::ofCurrentThread() {
  return mailboxOfThisThread == nullptr ? nullptr : mailboxOfThisThread->loop();
}

void EventLoop::abortNotInLoopThread() const {
  LOG_FATAL << "EventLoop " << this << " belongs to thread " << mailbox_->threadId()
            << " but was used from thread " << CurrentThread::tid();
  std::abort();  // not reached; LOG_FATAL cannot be declared [[noreturn]]
}

void EventLoop::updateChannel(Channel* channel) {
  assertInLoopThread();
  poller_->updateChannel(channel);
}

void EventLoop::removeChannel(Channel* channel) {
  assertInLoopThread();
  poller_->removeChannel(channel);
  // It may be ready in the batch that is being worked off; its owner may delete it right after.
  const auto rest = activeChannels_.begin() + static_cast<std::ptrdiff_t>(nextActive_);
  std::replace(rest, activeChannels_.end(), channel, static_cast<Channel*>(nullptr));
}

bool EventLoop::hasChannel(const Channel* channel) const {
  assertInLoopThread();
  return poller_->hasChannel(channel);
}

}  // namespace rung
